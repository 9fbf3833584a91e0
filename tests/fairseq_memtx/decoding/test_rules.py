"""The rules about words, one by one and told by numbers or by tensors alike."""

import pytest
import torch
from torch import Tensor

from fairseq_memtx.decoding.candidates import best_continuations
from fairseq_memtx.decoding.rules import ban_repeated_ngrams, end_at, force_words, rule_out
from fairseq_memtx.decoding.search_options import SearchOptions

BOS, PAD, EOS, UNK, WORDS = 0, 1, 2, 3, 9


def options(**given) -> SearchOptions:
    return SearchOptions(
        **{"beam_size": 3, "max_len": 5, "min_len": 2, "pad": PAD, "unk": UNK, "eos": EOS}
        | {"bos": BOS, "unk_penalty": 1.5}
        | given
    )


def allowed(log_probs: Tensor) -> list[int]:
    """Words that may come, in the first row of the first sentence."""
    return log_probs[0, 0].isfinite().nonzero().flatten().tolist()


@pytest.mark.parametrize("of", [int, lambda number: torch.tensor([number])], ids=["int", "tensor"])
@pytest.mark.parametrize(
    "step, prefix_len, want",
    [
        (0, 0, [0, 3, 4, 5, 6, 7, 8]),
        (1, 0, [0, 3, 4, 5, 6, 7, 8]),
        (2, 0, [0, 2, 3, 4, 5, 6, 7, 8]),
        (1, 2, [0, 2, 3, 4, 5, 6, 7, 8]),
        (5, 0, [2]),
    ],
)
def test_what_may_come_depends_on_the_step(step, prefix_len, want, of) -> None:
    log_probs = torch.zeros(2, 3, WORDS)
    rule_out(log_probs, options(), of(step), of(5), of(prefix_len))
    assert allowed(log_probs) == want
    assert (log_probs[0, 0] == log_probs).all()
    if UNK in want:
        assert log_probs[0, 0, UNK] == -1.5


def test_an_exact_length_ends_there_and_not_before() -> None:
    log_probs = torch.full((2, 3, WORDS), -1.0)
    end_at(torch.tensor([3, 4]), log_probs, 3, EOS)
    assert log_probs[:, 0, EOS].tolist() == [0.0, -torch.inf]
    assert log_probs[:, 0, PAD].tolist() == [-1.0, -1.0]


def forced_by_masks(words, log_probs, scores, k, ended=None):
    """What fairseq does: every other word of a sentence is masked, then the best are taken."""
    log_probs, scores = log_probs.clone(), scores.clone()
    for s, word in enumerate(words.tolist()):
        if word == PAD:
            continue
        keep = [word] if ended is None or not ended[s] else [word, EOS]
        masked = torch.full_like(log_probs[s], -torch.inf)
        masked[:, keep] = log_probs[s][:, keep]
        log_probs[s] = masked
        if word == EOS:
            log_probs[s], scores[s] = log_probs[s][:1], scores[s][:1]
    return best_continuations(log_probs, scores, k)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("may_end", [None, torch.tensor([True, False, True, True, False])])
def test_forced_words_are_those_that_masks_would_leave(rows, may_end) -> None:
    words = torch.tensor([5, PAD, EOS, 7, 4])
    log_probs, scores = torch.randn(5, rows, WORDS), torch.randn(5, rows)
    log_probs[..., PAD] = -torch.inf
    k = 6
    found = best_continuations(log_probs, scores, k)
    got = force_words(found, words, log_probs, scores, options(), may_end)
    want = forced_by_masks(words, log_probs, scores, k, may_end)
    assert torch.equal(got.scores, want.scores)
    finite = want.scores.isfinite()
    assert torch.equal(got.tokens[finite], want.tokens[finite])
    ends = words.eq(EOS).unsqueeze(1).expand_as(finite)  # whose rows are equal
    assert torch.equal(got.rows[finite & ~ends], want.rows[finite & ~ends])
    assert (got.rows[ends] == 0).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_repeated_ngrams_are_those_that_a_search_through_the_prefix_finds(n):
    """Words of two symbols only, so that much is repeated; the start symbol counts for n > 1."""
    prefixes = torch.randint(3, 5, (20, 9))
    prefixes[:, 0] = 2
    scores = torch.zeros(20, 6)
    ban_repeated_ngrams(scores, prefixes, n)
    for row, found in zip(prefixes.tolist(), scores, strict=True):
        seen = [row[i : i + n] for i in range(1 if n == 1 else 0, len(row) - n + 1)]
        last = row[len(row) - n + 1 :] if n > 1 else []
        want = [word for word in range(6) if [*last, word] in seen]
        assert found.eq(-torch.inf).nonzero().flatten().tolist() == want


def test_a_short_prefix_repeats_nothing():
    scores = torch.zeros(1, 6)
    ban_repeated_ngrams(scores, torch.tensor([[2]]), 2)
    ban_repeated_ngrams(scores, torch.tensor([[2]]), 1)
    assert scores.eq(0).all()
