"""One step of a beam search, from the newest words to the next, as operations on fixed tensors.

The candidates, their order and the rules are those of `beam_search`; what differs from step to step
is in the state (`device_state`), and the host is never asked. That is what a CUDA graph can hold.

Size legend: B sentences, beam (rows of a sentence at most), V vocabulary.
"""

import torch

from ..candidates import Candidates, accepted_ends, best_continuations, first_open
from ..fused import FusedDecoder
from ..fused_parts import SourceCache
from ..rules import force_words, rule_out
from .device_state import DeviceState, Form
from .static_cache import StaticCache


class DeviceStep:
    """One step of a search, on a state that stays where it is.

    Args:
        weights: the decoder.
        temperature: that logits are divided by.
        state: the tensors.
        form: of the state.
    """

    def __init__(self, weights: FusedDecoder, temperature: float, state: DeviceState, form: Form):
        self.state, self.form = state, form
        self._weights, self._temperature = weights, temperature
        self._past = StaticCache(state.slots, state.bias, state.position)
        self._source = SourceCache(state.source, None)
        self._source.bias = state.source_bias
        self._positions = weights.positions(min(form.T, weights.decoder.max_positions()))

    def advance(self) -> None:
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
        """The best continuations `(B, 2 * beam)` that the rules allow."""
        state, weights, table = self.state, self._weights, self._positions
        position = 0.0 if table is None else table.index_select(0, state.position)
        x = weights.embed(state.tokens.flatten(), position)
        features, _ = weights.run_position(x, self._past, self._source)
        log_probs = weights.log_probs(features, self._temperature).view(*state.tokens.shape, -1)
        rules = self.form.rules
        rule_out(log_probs, rules, state.position, state.max_len, state.prefix_len)
        found = best_continuations(log_probs, state.scores, 2 * state.tokens.size(1))
        if not self.form.forces:
            return found
        words = state.prefix.index_select(1, state.position)  # (B, 1)
        words = words.masked_fill(state.position >= state.prefix_len, rules.pad).squeeze(1)
        return force_words(found, words, log_probs, state.scores, rules)
