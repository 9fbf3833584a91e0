"""Beam search as fairseq's `SequenceGenerator` with `BeamSearch` does it, without its overhead.

The same candidates are compared by the same scores in the same order, so that the hypotheses are
the same up to the rounding of the scores. Equal scores are taken in the order in which
`torch.topk` leaves them; fairseq's are too, but of another tensor, so that the two may order exact
ties of different words differently.

What is done differently: the first step runs one row a sentence, not one a beam; hypotheses are
read off at the end instead of being copied at every step; finished sentences leave the batch by
moving others into their places; on a CUDA device the host asks only now and then whether sentences
are finished.

Size legend: B sentences of the batch, b those still searched, beam (rows of a sentence at most), R
rows a sentence (1 at the first step, then beam), V vocabulary, N = b * R, S source positions.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .candidates import Candidates, accepted_ends, best_continuations, first_open
from .history import Ending, History, Hypothesis, Step
from .rules import ban_repeated_ngrams, end_at, end_by, force_words, rule_out
from .search_options import NO_LIMITS, Limits, SearchOptions


class Move(NamedTuple):
    """How the rows of a search follow its beams.

    Attributes:
        parents: `(b, beam)`, the row from 0 to R - 1 of its sentence that each row continues.
        kept: `(b,)`, the old place of each sentence that is searched on; None if all stay where
            they are.
    """

    parents: Tensor
    kept: Tensor | None

    def rows(self, rows_before: int) -> Tensor:
        """`(b * beam,)`: the old row of each row."""
        kept = self.kept
        if kept is None:
            kept = torch.arange(len(self.parents), device=self.parents.device)
        return (self.parents + (kept * rows_before).unsqueeze(1)).flatten()


class Stepper(Protocol):
    """A model, or several, in the middle of one search."""

    def score_next(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Feed the newest words `(N,)`.

        Returns:
            Log-probabilities `(N, V)` in float32, which the search may change in place, and the
            attention to the source `(N, S)` where it is wanted.
        """

    def move(self, move: Move) -> None:
        """Let the state follow the beams."""


class BeamSearch:
    """One search.

    Args:
        options: what is searched for.
        stepper: the model.
        num_sentences: B.
        device: of all tensors.
        limits: on single sentences.
    """

    def __init__(
        self,
        options: SearchOptions,
        stepper: Stepper,
        num_sentences: int,
        device: torch.device,
        limits: Limits = NO_LIMITS,
    ):
        self.options, self.stepper, self.limits = options, stepper, limits
        self.history = History(num_sentences, options.eos)
        self.sentences = torch.arange(num_sentences, device=device)
        self.tokens = torch.full((num_sentences, 1), options.bos, device=device)
        self.scores = torch.zeros(num_sentences, 1, device=device)
        prefix = limits.prefix
        self.prefix_len = 0 if prefix is None else min(prefix.size(1), options.max_len)
        self.num_ended = torch.zeros(num_sentences, dtype=torch.long, device=device)
        self.prefixes = self.tokens if options.no_repeat_ngram_size > 0 else None
        # Asking whether something ended makes the host wait for the device.
        self.asks_every = 1 if device.type == "cpu" else 8

    @torch.no_grad()
    def find_hypotheses(self) -> list[Hypothesis]:
        """All hypotheses, in the order in which they were found."""
        for step in range(self.options.max_len + 1):
            candidates = self._continuations(step)
            ends = candidates.tokens.eq(self.options.eos)
            if step == self.options.max_len:
                self._end(step, candidates, ends)
                break
            if self.asks_every > 1 or bool(ends.any()):
                ends &= candidates.scores.isfinite()
                self._end(step, candidates, ends)
                candidates = first_open(candidates, ends, self.options.beam_size)
                kept = self._kept_places() if step % self.asks_every == 0 else None
                if kept is not None and len(kept) == 0:
                    break
            else:
                candidates = Candidates(*(part[:, : self.options.beam_size] for part in candidates))
                kept = None
            self._go_on(candidates, kept)
        return self.history.hypotheses()

    # --- Words ----------------------------------------------------------------------------------

    def _continuations(self, step: int) -> Candidates:
        """The best continuations that the rules allow, `(b, 2 * beam)` or fewer."""
        log_probs, attention = self.stepper.score_next(self.tokens.flatten())
        log_probs = log_probs.view(*self.tokens.shape, -1)
        if attention is not None:
            attention = attention.view(*self.tokens.shape, -1)
            self.history.attention.append((self.sentences, attention))
        self._rule_out(step, log_probs)
        # one less than there are: padding is never chosen
        k = min(2 * self.options.beam_size, log_probs[0].numel() - 1)
        found = best_continuations(log_probs, self.scores, k)
        return self._force(step, found, log_probs) if step < self.prefix_len else found

    def _rule_out(self, step: int, log_probs: Tensor) -> None:
        """Apply the rules about words to `(b, R, V)` in place, in fairseq's order."""
        options = self.options
        rule_out(log_probs, options, step, options.max_len, self.prefix_len)
        if self.prefixes is not None:
            size = options.no_repeat_ngram_size
            ban_repeated_ngrams(log_probs.flatten(0, 1), self.prefixes, size)
        if self.limits.exact_length is not None:
            end_at(self.limits.exact_length[self.sentences], log_probs, step, options.eos)
        if self.limits.longest is not None:
            end_by(self.limits.longest[self.sentences], log_probs, step, options.eos)

    def _force(self, step: int, found: Candidates, log_probs: Tensor) -> Candidates:
        """Let each sentence go on with the next word of its prefix, if it has one."""
        assert self.limits.prefix is not None
        words, length = self.limits.prefix[self.sentences, step], self.limits.exact_length
        if self.limits.longest is not None:  # there only the end comes, as where all have one limit
            words = words.masked_fill(step >= self.limits.longest[self.sentences], self.options.pad)
        may_end = None if length is None else step >= length[self.sentences]
        return force_words(found, words, log_probs, self.scores, self.options, may_end)

    # --- Ends -----------------------------------------------------------------------------------

    def _end(self, step: int, candidates: Candidates, ends: Tensor) -> None:
        """Accept the `ends` `(b, k)` among the best `beam` candidates, `beam` for each sentence."""
        size = self.options.beam_size
        ends = ends[:, :size] & candidates.scores[:, :size].isfinite()
        accepted = accepted_ends(ends, size - self.num_ended)
        self.num_ended = self.num_ended + accepted.sum(1)
        rows, scores = candidates.rows[:, :size], candidates.scores[:, :size]
        self.history.endings.append(Ending(step, self.sentences, accepted, rows, scores))

    def _kept_places(self) -> Tensor | None:
        """Places of the sentences to search on, `(b',)`; None if it is all of them.

        As few as possible change place: the last ones move to where others ended.
        """
        open_ones = (self.num_ended < self.options.beam_size).nonzero().squeeze(1)
        count = len(open_ones)
        if count == len(self.num_ended):
            return None
        kept = torch.arange(count, device=open_ones.device)
        last = open_ones[open_ones >= count]
        kept[self.num_ended[:count] >= self.options.beam_size] = last
        return kept

    # --- Beams ----------------------------------------------------------------------------------

    def _go_on(self, chosen: Candidates, kept: Tensor | None) -> None:
        """Continue with the `chosen` `(b, beam)` of the sentences `kept`."""
        rows_before = self.tokens.size(1)
        if kept is not None:
            chosen = Candidates(*(part[kept] for part in chosen))
            self.sentences, self.num_ended = self.sentences[kept], self.num_ended[kept]
        self.scores, self.tokens, parents = chosen
        self.history.steps.append(Step(self.sentences, self.tokens, parents, self.scores))
        move = Move(parents, kept)
        self.stepper.move(move)
        if self.prefixes is not None:
            prefixes = self.prefixes[move.rows(rows_before)]
            self.prefixes = torch.cat([prefixes, self.tokens.reshape(-1, 1)], dim=1)
