"""What the search asks of a model and tells it, with a model of random words."""

import pytest
import torch

from fairseq_memtx.decoding.beam_search import BeamSearch, Move
from fairseq_memtx.decoding.search_options import SearchOptions

PAD, EOS, UNK, WORDS = 1, 2, 3, 30


class RandomWords:
    """Log-probabilities that depend on the whole prefix alone, and a record of all calls."""

    def __init__(self, num_sentences: int, ends: float = 0.0):
        self.prefixes = [[(s,)] for s in range(num_sentences)]
        self.ends, self.rows, self.kept = ends, [], []

    def score_next(self, tokens):
        self.rows.append(len(tokens))
        flat = [prefix for beams in self.prefixes for prefix in beams]
        words = tokens.tolist()
        self.words = iter(words)
        self.prefixes = [[(*p, next(self.words)) for p in beams] for beams in self.prefixes]
        flat = [prefix for beams in self.prefixes for prefix in beams]
        found = []
        for prefix in flat:
            generator = torch.Generator().manual_seed(hash(prefix) % 2**31)
            found.append(torch.randn(WORDS, generator=generator))
        logits = torch.stack(found)
        logits[:, EOS] += self.ends
        return logits.log_softmax(-1), None

    def move(self, move: Move):
        self.kept.append(None if move.kept is None else move.kept.tolist())
        order = range(len(self.prefixes)) if move.kept is None else move.kept.tolist()
        beams = move.parents.tolist()
        self.prefixes = [[self.prefixes[s][p] for p in beams[i]] for i, s in enumerate(order)]


def search(model, num_sentences, asks_every=1, **options):
    how = {"beam_size": 3, "max_len": 12, "min_len": 1, **options}
    found = BeamSearch(
        SearchOptions(pad=PAD, unk=UNK, eos=EOS, bos=EOS, **how),
        model,
        num_sentences,
        torch.device("cpu"),
    )
    found.asks_every = asks_every
    return found.find_hypotheses()


def by_sentence(found):
    return {(h.sentence, tuple(h.tokens.tolist()), round(float(h.total), 4)) for h in found}


def test_scores_are_those_of_the_words_of_each_hypothesis():
    found = search(RandomWords(3, ends=1.0), 3)
    model = RandomWords(3, ends=1.0)
    for hypothesis in found:
        model.prefixes = [[(hypothesis.sentence,)]]
        fed = [EOS, *hypothesis.tokens.tolist()]
        for word, following, score in zip(
            fed, fed[1:], hypothesis.word_scores.tolist(), strict=False
        ):
            log_probs, _ = model.score_next(torch.tensor([word]))
            assert score == pytest.approx(float(log_probs[0, following]), abs=1e-5)
        assert float(hypothesis.word_scores.sum()) == pytest.approx(
            float(hypothesis.total), abs=1e-4
        )


def test_the_first_step_runs_one_row_a_sentence_and_finished_ones_leave():
    model = RandomWords(6, ends=2.0)
    found = search(model, 6)
    assert model.rows[:2] == [6, 18]
    assert model.rows == sorted(model.rows[:1]) + sorted(model.rows[1:], reverse=True)
    assert model.rows[-1] < 18
    assert all(sum(h.sentence == s for h in found) == 3 for s in range(6))


def test_only_as_many_sentences_change_place_as_have_to():
    model = RandomWords(6, ends=2.0)
    search(model, 6)
    before = 6
    for kept in filter(None, model.kept):
        moved = sum(place != old for place, old in enumerate(kept))
        assert moved <= before - len(kept)
        before = len(kept)
    assert before < 6


def test_asking_now_and_then_finds_the_same():
    """As on a device whose host must wait for an answer."""
    often = search(RandomWords(5, ends=1.5), 5)
    rarely = search(RandomWords(5, ends=1.5), 5, asks_every=4)
    assert by_sentence(often) == by_sentence(rarely)
    assert len(often) == 15


class NoNumbersAfter(RandomWords):
    """Gives NaN to rows whose newest word is `word`."""

    word: int

    def score_next(self, tokens):
        log_probs, attention = super().score_next(tokens)
        log_probs[tokens == self.word] = float("nan")
        return log_probs, attention


def test_a_row_without_numbers_stops_the_search():
    """fairseq drops the row silently, though other hypotheses of the sentence may be no better."""
    found = search(RandomWords(4, ends=1.0), 4)
    model = NoNumbersAfter(4, ends=1.0)
    model.word = next(int(h.tokens[0]) for h in found if len(h.tokens) > 1)
    with pytest.raises(FloatingPointError, match="NaN"):
        search(model, 4)
