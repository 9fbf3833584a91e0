"""The beam search of `beam_search`, run by the device alone.

The host only starts the steps (`device_step`), which on a GPU are CUDA graphs. Every few steps it
looks which sentences are open: when half of them have ended, the others move together. When the
positions run out, all move to more room.

Sizes are rounded up, so that a bounded number of graphs serves all batches. The states of all forms
lie over each other in one block of memory, as large as the largest of them.

Size legend: B sentences, beam (rows of a sentence at most).
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ...engine.gpu.arena import Arena, aligned
from ...engine.gpu.recording import Recorder
from ..fused import FusedDecoder
from ..fused_parts import SourceCache
from ..history import Ending, History, Hypothesis, Step
from ..search_options import SearchOptions
from .device_state import DeviceState, Form, first_state, place, rounded, select
from .device_step import DeviceStep
from .step_graphs import StepGraphs

ASKS_EVERY = 8  # steps
HEADROOM = 1.25  # of the memory, when more is needed than ever before


class DeviceDecoder:
    """A decoder with what is kept from search to search: its graphs and their memory.

    Args:
        weights: the decoder, without adaptive softmax.
        temperature: that logits are divided by.
        recorder: makes the graphs.
    """

    def __init__(self, weights: FusedDecoder, temperature: float, recorder: Recorder):
        self.weights, self.graphs = weights, StepGraphs(recorder)
        self._temperature = temperature
        self._arena: Arena | None = None

    def place_state(self, given: DeviceState, form: Form) -> DeviceStep:
        """The step of a form, on a copy of the state. All earlier steps become unusable."""
        shapes = [(form.shape(name, x), x) for name, x in given._asdict().items()]
        num_bytes = sum(aligned(math.prod(shape) * x.element_size()) for shape, x in shapes)
        arena = self._reserve(num_bytes)
        arena.rewind()
        return DeviceStep(self.weights, self._temperature, place(given, form, arena.make), form)

    def _reserve(self, num_bytes: int) -> Arena:
        if self._arena is None or self._arena.num_bytes < num_bytes:
            self.graphs.forget()
            self._arena = None  # given back before the next is asked for
            self._arena = Arena(int(HEADROOM * num_bytes), self.weights.device)
        return self._arena


class DeviceSearch:
    """One search.

    Args:
        decoder: the model.
        source: of B sentences.
        options: what is searched for, but for n-grams that must not come twice.
        prefix: `(B, P)` words that the hypotheses begin with, padded at the end; or None.
    """

    def __init__(
        self,
        decoder: DeviceDecoder,
        source: SourceCache,
        options: SearchOptions,
        prefix: Tensor | None = None,
    ):
        self._decoder, self._max_len = decoder, options.max_len
        given = first_state(source, options, prefix, decoder.weights.kinds)
        self._history = History(len(given.tokens), options.eos)
        self._sentences = torch.arange(len(given.tokens))  # by their places, on the host
        self._num_steps = self._num_noted = 0
        forces, rules = prefix is not None, replace(options, max_len=0, bos=0)
        positions = rounded("T", max(1, given.prefix.size(1)))
        sizes = rounded("B", len(given.tokens)), positions, rounded("S", given.source.size(3))
        self._step = decoder.place_state(given, Form(*sizes, forces, rules))

    @torch.no_grad()
    def find_hypotheses(self) -> list[Hypothesis]:
        """All hypotheses, in the order in which they were found, on the host."""
        for step in range(self._max_len + 1):
            if step == self._step.form.T:
                self._keep(torch.arange(len(self._sentences)))
            self._decoder.graphs.replay(self._step.form, self._step.advance)
            self._num_steps += 1
            if self._num_steps % ASKS_EVERY == 0 and not self._goes_on():
                break
        self._note()
        return self._history.hypotheses()

    def _goes_on(self) -> bool:
        """Whether sentences are open; if half of them are not, only the others are searched on."""
        kept = self._step.state.room[: len(self._sentences)].cpu().nonzero().squeeze(1)
        if len(kept) > 0 and 2 * rounded("B", len(kept)) <= self._step.form.B:
            self._keep(kept)
        return len(kept) > 0

    def _keep(self, kept: Tensor) -> None:
        """Search on for the sentences at the places `kept` `(b,)`, with room for a position."""
        self._note()
        self._sentences = self._sentences[kept]
        form = self._step.form
        positions = max(form.T, rounded("T", self._num_steps + 1))
        form = form._replace(B=rounded("B", len(kept)), T=positions)
        given = select(self._step.state, kept.to(self._step.state.tokens.device))
        del self._step  # and with it, if more memory is needed, what it had
        self._step = self._decoder.place_state(given, form)

    def _note(self) -> None:
        """Tell the history of the steps since the last time."""
        new, old = slice(self._num_noted, self._num_steps), len(self._sentences)
        words, sums = (x[new, :, :old].to("cpu", copy=True) for x in self._step.state[-2:])
        for step, ((tokens, parents, accepted, rows), (scores, totals)) in enumerate(
            zip(words, sums, strict=True), self._num_noted
        ):
            ending = Ending(step, self._sentences, accepted.bool(), rows, totals)
            self._history.endings.append(ending)
            self._history.steps.append(Step(self._sentences, tokens, parents, scores))
        self._num_noted = self._num_steps
