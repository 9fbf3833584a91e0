"""What a beam search remembers: who continued whom with which word, and which rows ended.

Nothing is copied while the search runs: hypotheses are read off backwards at its end, on the host.

Size legend: B sentences of the batch, b those still searched at a step, beam (rows of a sentence at
most), R rows a sentence before the step (1 at the first, then beam), h hypotheses, T steps, S
source positions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Step(NamedTuple):
    """What a step did to the open sentences; `(b, beam)` but for `sentences` `(b,)`.

    Attributes:
        sentences: their numbers in the batch.
        tokens: the word that each row got.
        parents: the row before the step that it continues.
        scores: its sum of log-probabilities.
    """

    sentences: Tensor
    tokens: Tensor
    parents: Tensor
    scores: Tensor


class Ending(NamedTuple):
    """Candidates that ended a hypothesis; `(b, beam)` but for `sentences` `(b,)`.

    Attributes:
        step: its number, from 0.
        sentences: numbers in the batch.
        accepted: True where a candidate is a hypothesis.
        rows: the row before the step that it continues.
        scores: its sum of log-probabilities.
    """

    step: int
    sentences: Tensor
    accepted: Tensor
    rows: Tensor
    scores: Tensor


class Hypothesis(NamedTuple):
    """A finished translation of t words, the end of the sentence included.

    Attributes:
        sentence: number in the batch.
        tokens: `(t,)`.
        total: sum of log-probabilities.
        word_scores: `(t,)`, log-probability of each word.
        attention: `(S, t)`, or None.
    """

    sentence: int
    tokens: Tensor
    total: Tensor
    word_scores: Tensor
    attention: Tensor | None


class History:
    """The steps of one search, and what ended.

    Args:
        num_sentences: B.
        eos: the symbol that ends a hypothesis.
    """

    def __init__(self, num_sentences: int, eos: int):
        self.num_sentences, self.eos = num_sentences, eos
        self.steps: list[Step] = []
        self.endings: list[Ending] = []
        self.attention: list[tuple[Tensor, Tensor]] = []  # sentences (b,), probabilities (b, R, S)

    def hypotheses(self) -> list[Hypothesis]:
        """All that ended: in the order of steps, then of sentences, then of scores.

        Raises:
            FloatingPointError: where a row's score is NaN. Such a row comes before all others and
                never ends, so that the last step has it still.
        """
        if self.endings and bool(self.endings[-1].scores.isnan().any()):
            raise FloatingPointError("the decoder's output is NaN: the model has diverged")
        places = [ending.accepted.nonzero(as_tuple=True) for ending in self.endings]
        ends = np.repeat([e.step for e in self.endings], [len(found[0]) for found in places])
        if len(ends) == 0:
            return []

        def accepted(look: Callable[[Ending, Tensor, Tensor], Tensor]) -> Tensor:
            found = zip(self.endings, places, strict=True)
            return torch.cat([look(ending, *place) for ending, place in found])

        sentences = accepted(lambda e, b, k: e.sentences[b])
        rows = accepted(lambda e, b, k: e.rows[b, k])
        totals = accepted(lambda e, b, k: e.scores[b, k])
        return self._read_off(ends, to_numpy(sentences), to_numpy(rows), totals)

    def _read_off(
        self, ends: np.ndarray, sentences: np.ndarray, rows: np.ndarray, totals: Tensor
    ) -> list[Hypothesis]:
        """Follow h hypotheses back from the step in which each ended."""
        length = int(ends.max()) + 1
        tokens = np.full((len(ends), length), self.eos)
        sums = np.empty((len(ends), length + 1), dtype=np.float32)
        sums[:] = to_numpy(totals)[:, None]
        sums[:, 0] = 0.0
        before = np.empty((length, len(ends)), dtype=np.int64)  # the row before each step
        before[:] = rows
        steps = self._on_host(length - 1)
        for t in range(length - 2, -1, -1):
            places, (of_tokens, of_parents, of_scores) = steps[t]
            inside = np.flatnonzero(ends > t)
            at = places[sentences[inside]], before[t + 1, inside]
            tokens[inside, t], sums[inside, t + 1] = of_tokens[at], of_scores[at]
            before[t, inside] = of_parents[at]
        device = totals.device
        words = torch.from_numpy(tokens).to(device)
        word_scores = torch.from_numpy(np.diff(sums)).to(device)
        attention = self._attention_of(ends, sentences, before)
        return [
            Hypothesis(
                sentence,
                words[i, : end + 1],
                totals[i],
                word_scores[i, : end + 1],
                None if attention is None else attention[i, :, : end + 1],
            )
            for i, (sentence, end) in enumerate(zip(sentences.tolist(), ends.tolist(), strict=True))
        ]

    def _on_host(self, num_steps: int) -> list[tuple[np.ndarray, list[np.ndarray]]]:
        """For each step: where a sentence stands `(B,)`; tokens, parents and scores `(b, beam)`."""
        steps = self.steps[:num_steps]
        if not steps:
            return []
        flat = [
            to_numpy(torch.cat(list(part))) for part in zip(*(s[1:] for s in steps), strict=True)
        ]
        found, first = [], 0
        for step, places in zip(steps, self._places([s.sentences for s in steps]), strict=True):
            last = first + len(step.sentences)
            found.append((places, [part[first:last] for part in flat]))
            first = last
        return found

    def _places(self, sentences: list[Tensor]) -> list[np.ndarray]:
        """For each tensor `(b,)` of numbers in the batch, where a sentence stands in it `(B,)`."""
        found: list[np.ndarray] = []
        for number, now in enumerate(sentences):
            if number > 0 and now is sentences[number - 1]:
                found.append(found[-1])
                continue
            places = np.zeros(self.num_sentences, dtype=np.int64)
            places[to_numpy(now)] = np.arange(len(now))
            found.append(places)
        return found

    def _attention_of(
        self, ends: np.ndarray, sentences: np.ndarray, before: np.ndarray
    ) -> Tensor | None:
        """`(h, S, T)` of hypotheses whose rows before each step were `before` `(T, h)`."""
        if not self.attention:
            return None
        first = self.attention[0][1]
        attention = first.new_zeros(len(ends), first.size(2), len(before))
        all_places = self._places([sentences for sentences, _ in self.attention[: len(before)]])
        for t, places in enumerate(all_places):
            reached = np.flatnonzero(ends >= t)
            place, row = places[sentences[reached]], before[t, reached]
            probs = self.attention[t][1][torch.from_numpy(place), torch.from_numpy(row)]
            attention[torch.from_numpy(reached), :, t] = probs
        return attention


def to_numpy(x: Tensor) -> np.ndarray:
    """The tensor on the host."""
    return x.cpu().numpy()
