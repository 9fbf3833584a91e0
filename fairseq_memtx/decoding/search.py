"""Beam search as fairseq's `SequenceGenerator` with `BeamSearch` does it, without its overhead.

The same candidates are compared by the same scores in the same order, so that the hypotheses are
the same up to the rounding of the scores. Equal scores are taken in the order in which
`torch.topk` leaves them; fairseq's are too, but of another tensor, so that the two may order exact
ties of different words differently.

What is done differently: the first step runs one row a sentence, not one a beam; hypotheses are
read off at the end instead of being copied at every step; finished sentences leave the batch by
moving others into their places; on a CUDA device the host asks only now and then whether sentences
are finished.

Size legend: B sentences of the batch, b those still searched, K beam, R rows a sentence (1 at the
first step, then K), V vocabulary, N = b * R, S source positions.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .history import Ending, History, Hypothesis, Step
from .words import Candidates, ban_repeated_ngrams, best_continuations


class Move(NamedTuple):
    """How the rows of a search follow its beams.

    Attributes:
        parents: `(b, K)`, the row from 0 to R - 1 of its sentence that each row continues.
        kept: `(b,)`, the old place of each sentence that is searched on; None if all stay where
            they are.
    """

    parents: Tensor
    kept: Tensor | None

    def rows(self, rows_before: int) -> Tensor:
        """`(b * K,)`: the old row of each row."""
        kept = self.kept
        if kept is None:
            kept = torch.arange(len(self.parents), device=self.parents.device)
        return (self.parents + (kept * rows_before).unsqueeze(1)).flatten()


class Stepper(Protocol):
    """A model, or several, in the middle of one search."""

    def step(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Feed the newest words `(N,)`.

        Returns:
            Log-probabilities `(N, V)` in float32, which the search may change in place, and the
            attention to the source `(N, S)` where it is wanted.
        """

    def move(self, move: Move) -> None:
        """Let the state follow the beams."""


@dataclass(frozen=True)
class SearchOptions:
    """What is searched for; names and meanings are those of fairseq's generator.

    Attributes:
        beam_size: K, at most V - 2: padding and the end continue no row.
        max_len: words of a hypothesis at most, its end not counted.
        min_len: and at least, where no prefix is forced.
        pad, unk, eos: the dictionary's symbols.
        bos: the symbol that a hypothesis begins with.
        unk_penalty: subtracted from the log-probability of the unknown word.
        no_repeat_ngram_size: order of n-grams that must not come twice; 0 for none.
    """

    beam_size: int
    max_len: int
    min_len: int
    pad: int
    unk: int
    eos: int
    bos: int
    unk_penalty: float = 0.0
    no_repeat_ngram_size: int = 0

    def by_place(self, words: Tensor) -> "SearchOptions":
        """The same, with the symbols counted by their places in `words` `(n,)`, sorted."""
        symbols = torch.tensor([self.pad, self.unk, self.eos, self.bos], device=words.device)
        pad, unk, eos, bos = places(words, symbols).tolist()
        return replace(self, pad=pad, unk=unk, eos=eos, bos=bos)


def places(words: Tensor, tokens: Tensor) -> Tensor:
    """Where each of the tokens stands in `words` `(n,)`, sorted, which has them all."""
    return torch.searchsorted(words, tokens)


class Limits(NamedTuple):
    """What is asked of single sentences.

    Attributes:
        prefix: `(B, P)` words that the hypotheses begin with, padded at the end; or None.
        exact_length: `(B,)` words of each sentence's hypotheses (`--match-source-len`), or None.
    """

    prefix: Tensor | None = None
    exact_length: Tensor | None = None


NO_LIMITS = Limits()


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
        self.num_ended = torch.zeros(num_sentences, dtype=torch.long, device=device)
        self.prefixes = self.tokens if options.no_repeat_ngram_size > 0 else None
        # Asking whether something ended makes the host wait for the device.
        self.asks_every = 1 if device.type == "cpu" else 8

    @torch.no_grad()
    def run(self) -> list[Hypothesis]:
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
        """The best 2K continuations that the rules allow, `(b, 2K)` unless there are fewer."""
        log_probs, attention = self.stepper.step(self.tokens.flatten())
        log_probs = log_probs.view(*self.tokens.shape, -1)
        if attention is not None:
            attention = attention.view(*self.tokens.shape, -1)
            self.history.attention.append((self.sentences, attention))
        ending = self._rule(step, log_probs)
        # one less than there are: padding is never chosen
        k = min(2 * self.options.beam_size, log_probs[0].numel() - 1)
        found = best_continuations(log_probs, self.scores, k)
        if ending is not None:  # all rows of such a sentence are the first one
            found = found._replace(rows=found.rows.masked_fill(ending.unsqueeze(1), 0))
        return found

    def _rule(self, step: int, log_probs: Tensor) -> Tensor | None:
        """Apply the rules about words to `(b, R, V)` in place, in fairseq's order.

        Returns:
            Sentences `(b,)` whose forced prefix ends here, or None for none.
        """
        options, ending = self.options, None
        log_probs[..., options.pad] = -math.inf
        if options.unk_penalty != 0.0:
            log_probs[..., options.unk] -= options.unk_penalty
        if step == options.max_len:
            log_probs[..., : options.eos] = -math.inf
            log_probs[..., options.eos + 1 :] = -math.inf
        prefix = self.limits.prefix
        if prefix is not None and step < min(prefix.size(1), options.max_len):
            ending = self._force(prefix[self.sentences, step], log_probs)
        elif step < options.min_len:
            log_probs[..., options.eos] = -math.inf
        if self.prefixes is not None:
            size = options.no_repeat_ngram_size
            ban_repeated_ngrams(log_probs.flatten(0, 1), self.prefixes, size)
        if self.limits.exact_length is not None:
            length = self.limits.exact_length[self.sentences]
            log_probs[step < length, :, options.eos] = -math.inf
            log_probs[step >= length, :, options.eos] = 0.0
        return ending

    def _force(self, words: Tensor, log_probs: Tensor) -> Tensor | None:
        """Leave only each sentence's word `(b,)`, where it is not padding."""
        at = words[:, None, None].expand(-1, log_probs.size(1), 1)
        wanted = log_probs.gather(2, at)
        log_probs.masked_fill_(words.ne(self.options.pad)[:, None, None], -math.inf)
        log_probs.scatter_(2, at, wanted)
        ending = words.eq(self.options.eos)
        if not bool(ending.any()):
            return None
        log_probs[ending] = log_probs[ending][:, :1]
        self.scores = torch.where(ending.unsqueeze(1), self.scores[:, :1], self.scores)
        if self.prefixes is not None:  # those of rows without a score are any words
            prefixes = self.prefixes.unflatten(0, (len(ending), -1))
            prefixes = torch.where(ending[:, None, None], prefixes[:, :1], prefixes)
            self.prefixes = prefixes.flatten(0, 1)
        return ending

    # --- Ends -----------------------------------------------------------------------------------

    def _end(self, step: int, candidates: Candidates, ends: Tensor) -> None:
        """Accept the `ends` `(b, k)` among the K best candidates, until a sentence has K."""
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
        """Continue with the `chosen` `(b, K)` of the sentences `kept`."""
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


def accepted_ends(ends: Tensor, room: Tensor) -> Tensor:
    """The first of the `ends` `(b, k)`, as many as there is `room` for in each sentence `(b,)`."""
    return ends & (ends.cumsum(1) <= room.unsqueeze(1))


def first_open(candidates: Candidates, ends: Tensor, count: int) -> Candidates:
    """The first `count` candidates of each sentence that are not `ends` `(b, k)`."""
    order = ends.byte().argsort(dim=1, stable=True)[:, :count]
    return Candidates(*(part.gather(1, order) for part in candidates))
