"""Every sentence is in a batch, and the batches that fairseq keeps stay as they are."""

import numpy as np
import pytest
from fairseq.data import data_utils

from fairseq_memtx import repairs

repairs.apply()


def lengths_of(sentences: int) -> np.ndarray:
    return np.random.RandomState(sentences).randint(1, 40, size=sentences)


@pytest.mark.parametrize("sentences", [0, 1, 7, 8, 9, 100, 131])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("max_tokens", [40, 400])
@pytest.mark.parametrize("vectorised", [True, False])
def test_every_sentence_is_in_one_batch(
    sentences: int, multiple: int, max_tokens: int, vectorised: bool
) -> None:
    lengths = lengths_of(sentences)
    batches = data_utils.batch_by_size(
        np.arange(sentences),
        lengths.__getitem__,
        num_tokens_vec=lengths if vectorised else None,
        max_tokens=max_tokens,
        required_batch_size_multiple=multiple,
    )
    assert [index for batch in batches for index in batch] == list(range(sentences))
    assert all(len(batch) * lengths[batch].max() <= max_tokens for batch in batches)
    assert all(len(b) % multiple == 0 or len(b) < multiple for b in batches[:-1])


def test_the_batches_that_fairseq_keeps_are_unchanged() -> None:
    lengths = lengths_of(131)
    arguments = (np.arange(131), lengths.__getitem__, lengths, 400, None, 8)
    kept = data_utils.batch_by_size.__wrapped__(*arguments)
    ours = data_utils.batch_by_size(*arguments)
    assert [list(batch) for batch in ours[:-1]] == [list(batch) for batch in kept]


def test_an_iterable_of_indices_is_enough() -> None:
    batches = data_utils.batch_by_size(iter(range(9)), lambda index: 1, max_sentences=4)
    assert [list(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_defect_fairseq_drops_the_last_batch() -> None:
    stock = data_utils.batch_by_size.__wrapped__
    batches = stock(np.arange(14), lambda index: 5, required_batch_size_multiple=8)
    assert sum(len(batch) for batch in batches) == 8
