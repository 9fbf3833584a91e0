"""One step of a beam search, from the newest words to the next, as operations on fixed tensors.

The candidates, their order and the rules are those of `search`; what differs from step to step is
in the state (`search_state`), and the host is never asked. That is what a CUDA graph can hold.

Size legend: B sentences, K beam, V vocabulary.
"""

import math

import torch
from torch import Tensor

from .fused import FusedDecoder, Source
from .search import accepted_ends, first_open
from .search_state import Form, SearchState
from .static_cache import StaticCache
from .words import Candidates, best_continuations


class DeviceStep:
    """One step of a search, on a state that stays where it is.

    Args:
        weights: the decoder.
        temperature: that logits are divided by.
        state: the tensors.
        form: of the state.
    """

    def __init__(self, weights: FusedDecoder, temperature: float, state: SearchState, form: Form):
        self.state, self.form = state, form
        self._weights, self._temperature = weights, temperature
        self._past = StaticCache(state.slots, state.bias, state.position)
        self._source = Source(state.source, None)
        self._source.bias = state.source_bias
        self._positions = weights.positions(min(form.T, weights.decoder.max_positions()))
        rules, num_words = form.rules, weights.decoder.output_projection.out_features
        words = torch.arange(num_words, device=state.tokens.device)
        self._is_end = words.eq(rules.eos)
        self._bias = torch.where(words.eq(rules.unk), -rules.unk_penalty, 0.0)
        self._bias.masked_fill_(words.eq(rules.pad), -math.inf)

    def run(self) -> None:
        """Change the state to that of the next position, and note what happened."""
        state, size = self.state, self.form.rules.beam_size
        found = self._continuations()
        ends = found.tokens.eq(self.form.rules.eos) & found.scores.isfinite()
        accepted = accepted_ends(ends[:, :size], state.room)
        chosen = first_open(found, ends, size)
        words = [chosen.tokens, chosen.rows, accepted.long(), found.rows[:, :size]]
        sums = [chosen.scores, found.scores[:, :size]]
        state.words.index_copy_(0, state.position, torch.stack(words).unsqueeze(0))
        state.sums.index_copy_(0, state.position, torch.stack(sums).unsqueeze(0))
        state.room.sub_(accepted.sum(1))
        state.tokens.copy_(chosen.tokens)
        state.scores.copy_(chosen.scores)
        self._past.move(chosen.rows)
        state.position.add_(1)

    def _continuations(self) -> Candidates:
        """The best 2K continuations `(B, 2K)` that the rules allow."""
        state, weights, table = self.state, self._weights, self._positions
        position = 0.0 if table is None else table.index_select(0, state.position)
        x = weights.embed(state.tokens.flatten(), position)
        features, _ = weights.step(x, self._past, self._source)
        log_probs = weights.log_probs(features, self._temperature)
        log_probs = log_probs.add_(self._word_bias()).view(*state.tokens.shape, -1)
        found = best_continuations(log_probs, state.scores, 2 * state.tokens.size(1))
        return self._force(found, log_probs) if self.form.forces else found

    def _word_bias(self) -> Tensor:
        """What the rules add to the log-probabilities of words, `(V,)`."""
        state, min_len = self.state, self.form.rules.min_len
        last = state.position >= state.max_len
        bias = self._bias.masked_fill(last & ~self._is_end, -math.inf)
        if min_len == 0:
            return bias
        early = (state.position < min_len) & (state.position >= state.prefix_len)
        return bias.masked_fill_(early & self._is_end, -math.inf)

    def _force(self, found: Candidates, log_probs: Tensor) -> Candidates:
        """The forced word's continuations of all rows where there is one, else what was found.

        Where it is the end, all rows are the first one, as in fairseq.
        """
        state, rules = self.state, self.form.rules
        word = state.prefix.index_select(1, state.position)  # (B, 1)
        forced = word.ne(rules.pad) & (state.position < state.prefix_len)
        at = word.unsqueeze(2).expand(-1, rules.beam_size, 1)
        scores = log_probs.gather(2, at).squeeze(2) + state.scores
        best, rows = scores.sort(dim=1, descending=True)
        ends = word.eq(rules.eos)
        best, rows = torch.where(ends, scores[:, :1], best), rows.masked_fill(ends, 0)
        best = torch.cat([best, torch.full_like(best, -math.inf)], dim=1)
        rows = torch.cat([rows, rows], dim=1)
        return Candidates(
            torch.where(forced, best, found.scores),
            torch.where(forced, word, found.tokens),
            torch.where(forced, rows, found.rows),
        )
