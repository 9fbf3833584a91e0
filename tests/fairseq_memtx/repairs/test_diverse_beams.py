"""Groups of beams are kept apart, whichever numbers the sentences have in the data."""

import pytest
import torch
from fairseq.search import DiverseBeamSearch

from fairseq_memtx import repairs
from tests.fairseq_memtx.tiny import tiny_dictionary

repairs.apply()

WORDS = 16


def searched(numbers: list[int], lprobs: torch.Tensor, step: str = "") -> list[list[torch.Tensor]]:
    """Three steps of a search; after the second the first sentence is no longer searched."""
    search = DiverseBeamSearch(tiny_dictionary(), num_groups=2, diversity_strength=0.7)
    function = DiverseBeamSearch.step
    function = getattr(function, step) if step else function
    ids, found = torch.tensor(numbers), []
    scores = torch.zeros(len(ids), 4, 0)
    for number in range(3):
        if number == 2:
            ids, lprobs, scores = ids[1:], lprobs[:, 1:], scores[1:]
        now, words, beams = function(search, number, lprobs[number], scores, None, ids)
        scores = torch.cat([scores, now[:, :4, None]], dim=2)
        found.append([now, words, beams])
    return found


@pytest.fixture
def lprobs() -> torch.Tensor:
    """Of three steps, for three sentences with four beams each."""
    return torch.randn(3, 3, 4, WORDS).log_softmax(dim=-1)


def test_numbers_of_the_data_do_not_matter(lprobs: torch.Tensor) -> None:
    expected = searched([0, 1, 2], lprobs)
    for numbers in ([7, 900, 5], [2, 0, 1]):
        torch.testing.assert_close(searched(numbers, lprobs), expected, rtol=0, atol=0)


def test_the_groups_keep_what_they_have_in_common(lprobs: torch.Tensor) -> None:
    """As stock finds it, where numbers are rows."""
    stock = searched([0, 1, 2], lprobs, "__wrapped__")
    torch.testing.assert_close(searched([13, 4, 8], lprobs), stock, rtol=0, atol=0)


def test_defect_stock_takes_numbers_of_the_data_for_rows(lprobs: torch.Tensor) -> None:
    """Fails once fairseq looks rows up by rows."""
    with pytest.raises(IndexError):
        searched([13, 4, 8], lprobs, "__wrapped__")
