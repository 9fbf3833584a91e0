"""All layers and the memory through one run, forward and back.

Size legend: T target positions, B sentences, C model dimension, H heads, S source positions, layers
kept, those that are not left out.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from ..modules import layer as modules
from ..modules.cross_attention import CrossMemory
from ..modules.dropout import NO_MASKS, LayerMasks
from ..modules.layer import FeedbackLayer
from ..modules.mixture import RoutedMixture
from .attention_sublayers import MemoryAttentionSteps, SourceAttentionSteps
from .gradients import GradientSums, Weights, under_prefix
from .interface import Recurrence, states_passed
from .layer_run import LayerRun
from .memory_reads import MemoryReads, Windows
from .memory_run import Group, MemoryRun
from .mixture_run import MixtureRun, RoutedRun, SameMixture
from .norm import Norm
from .sublayers import FeedForwardSteps, Residual
from .tape import Make, Slots, Tape


class StackRun:
    """A run of a recurrence.

    Args:
        r: the recurrence, for everything but the numbers in `weights`.
        weights: all that a gradient can be asked for, named as in `manual`.
        dtype: of products.
        keep: keep what the backward needs.
        make: see `Tape`.
    """

    def __init__(
        self,
        r: Recurrence,
        weights: Weights,
        dtype: torch.dtype,
        keep: bool,
        make: Make | None = None,
    ):
        self.r, self.weights = r, weights
        self.kept = [i for i, layer in enumerate(r.layers) if layer is not None]
        inputs = weights["inputs"].detach().contiguous()
        num_steps = len(inputs)
        self.tape = Tape(num_steps, inputs, keep, make)
        self.like = inputs.new_empty(inputs.shape[1:], dtype=dtype)
        self.states = [Slots(inputs, num_steps)]
        shape = tuple(inputs.shape)
        self.states += [Slots(self.tape.empty(shape, inputs), num_steps) for _ in self.kept]
        self.memory = self._memory_run()
        self.layers = [self._layer_run(number, i) for number, i in enumerate(self.kept)]

    def forward(self) -> tuple[list[Tensor], Tensor | None]:
        """The kept + 1 states `(T, B, C)`; probabilities `(H, B, T, S)` of the layer asked for."""
        self.layers[0].ask_all()
        for t in range(self.tape.num_steps):
            states = [self.states[0][t]]
            for layer, out in zip(self.layers, self.states[1:], strict=True):
                x = layer.forward(t, states[-1])
                if x is not out[t]:
                    out[t].copy_(x)
                states.append(out[t])
            self.memory.forward(t)
        return [x.all for x in self.states], self._cross_probs()

    def backward(
        self, state_grads: Sequence[Tensor | None], probs_grad: Tensor | None, wanted: set[str]
    ) -> Weights:
        """The gradients of the wanted weights, as far as anything read them.

        Args:
            state_grads: of the kept + 1 states, None for zero.
            probs_grad: of the probabilities, or None.
            wanted: names.
        """
        self._give_probs_grad(probs_grad)
        self.memory.start_backward(self.tape)
        for layer in self.layers:
            layer.start_backward(self.tape)
        sums = GradientSums(wanted)
        given = [None if x is None else x.contiguous().unbind(0) for x in state_grads]
        inputs = self.states[0].all
        inputs_grad = Slots(self.tape.empty(tuple(inputs.shape), inputs), self.tape.num_steps)
        for chunk in reversed(self.tape.chunks()):
            self._back_chunk(chunk, given, inputs_grad)
            self._add_gradients(chunk, sums)
        self.memory.add_position_gradients(sums.under("memory."))
        if self.r.past is not None:
            self.memory.add_past_gradients(self.r.past, sums.under("past."))
        sums.add("inputs", inputs_grad.all)
        return sums.sums

    def _back_chunk(
        self, chunk: range, given: Sequence[Sequence[Tensor] | None], inputs_grad: Slots
    ) -> None:
        """Step back through a chunk: fill its backward buffers and gradients of the inputs."""
        self.memory.start_chunk(chunk)
        for layer in self.layers:
            layer.start_chunk(chunk)
        for t in reversed(chunk):
            grads = self.memory.back(t, [None if x is None else x[t] for x in given])
            grad = grads[-1] if grads[-1] is not None else torch.zeros_like(inputs_grad[t])
            for layer, below in zip(reversed(self.layers), reversed(grads[:-1]), strict=True):
                grad = layer.back(t, grad)
                grad = grad if below is None else grad + below
            inputs_grad[t].copy_(grad)
        inputs_grad.cut(chunk).add_(self.layers[0].back_asked(chunk))

    def _add_gradients(self, chunk: range, sums: GradientSums) -> None:
        self.memory.add_gradients(chunk, sums.under("memory."))
        for i, layer in zip(self.kept, self.layers, strict=True):
            layer.add_gradients(chunk, sums.under(f"layers.{i}."))
            if layer.source is not None:
                layer.source.add_source_gradients(chunk, sums.under(f"sources.{i}."))

    def _aligned(self) -> SourceAttentionSteps | None:
        """The cross-attention whose probabilities are asked for."""
        if self.r.probs_layer not in self.kept:
            return None
        return self.layers[self.kept.index(self.r.probs_layer)].source

    def _cross_probs(self) -> Tensor | None:
        source = self._aligned()
        if source is None:
            return None
        # (T, BH, 1, S) -> (T, B, H, S) -> (H, B, T, S)
        probs = source.probs.all.squeeze(2).unflatten(1, (len(self.like), -1))
        return probs.permute(2, 1, 0, 3).clone()

    def _give_probs_grad(self, grad: Tensor | None) -> None:
        source = self._aligned()
        if source is not None and grad is not None:
            # (H, B, T, S) -> (T, BH, 1, S)
            grad = grad.permute(2, 1, 0, 3).flatten(1, 2).unsqueeze(2)
            source.probs_grads = grad.to(self.like.dtype)

    def _memory_run(self) -> MemoryRun:
        memory = self.r.memory
        windows = Windows(
            self.tape, memory.span, self.r.padding_mask, memory.num_heads, self.like, self.r.past
        )
        groups = self._groups()
        mixture = self._mixture_run(sorted({group.channel for group in groups}))
        eps = 0.0 if memory.layer_norm is None else memory.layer_norm.eps
        weights = under_prefix("memory.", self.weights)
        return MemoryRun(
            weights, mixture, groups, windows, memory.num_heads, eps, self.tape, self.like,
            self.states[0].all, self.r.past,
        )  # fmt: skip

    def _groups(self) -> list[Group]:
        """The pairs of projections that are read, in the order of their channels."""
        channel_of = self.r.memory.wiring.pairs
        counts = Counter(self._pairs)
        groups = [Group(pair, readers, channel_of[pair]) for pair, readers in counts.items()]
        return sorted(groups, key=lambda group: (group.channel, group.pair))

    @property
    def _pairs(self) -> list[int]:
        """Of each layer kept, the pair of projections that it reads."""
        return [self.r.memory.wiring.layers[i] for i in self.kept]

    def _mixture_run(self, channels: Sequence[int]) -> MixtureRun:
        mixture = self.r.memory.mixture
        weights, common = under_prefix("memory.", self.weights), (channels, mixture.channels)
        if not isinstance(mixture, RoutedMixture):
            return SameMixture(weights, self.states, *common)
        # The states that its weights are for, among those of the layers kept.
        passed = states_passed(self.kept, len(self.r.layers))
        numbers = [passed[number] for number in mixture.numbers]
        return RoutedRun(weights, self.states, *common, numbers, self.like.dtype, self.tape)

    def _reads(self, number: int) -> tuple[MemoryReads, int]:
        """The keys and values that layer `number` reads, and its number among their readers."""
        pair = self._pairs[number]
        place = [group.pair for group in self.memory.groups].index(pair)
        return self.memory.reads[place], self._pairs[:number].count(pair)

    def _layer_run(self, number: int, i: int) -> LayerRun:
        layer = self.r.layers[i]
        assert layer is not None and isinstance(layer.self_attn, modules.MemoryAttention)
        masks = self.r.masks[i] if self.r.masks else NO_MASKS
        weights = under_prefix(f"layers.{i}.", self.weights)
        common = (self.tape, self.like)
        rows = len(self.like)
        memory = MemoryAttentionSteps(
            under_prefix("self_attn.", weights), *common, rows, layer.self_attn.scaling,
            masks.memory_probs, *self._reads(number),
        )  # fmt: skip
        source = self._source_attention(i, layer, masks, under_prefix("encoder_attn.", weights))
        ffn = FeedForwardSteps(weights, *common, rows, layer.activation, masks.activation)
        frames = self._frames(number, layer, masks, weights, source is not None)
        return LayerRun(memory, source, ffn, frames, self.states[number])

    def _source_attention(
        self, i: int, layer: FeedbackLayer, masks: LayerMasks, weights: Weights
    ) -> SourceAttentionSteps | None:
        if layer.encoder_attn is None or not self.r.sources:
            return None
        keys, values = self.weights[f"sources.{i}.keys"], self.weights[f"sources.{i}.values"]
        source = CrossMemory(keys, values, self.r.sources[i].padding_mask)
        return SourceAttentionSteps(
            weights, self.tape, self.like, len(self.like), layer.encoder_attn.scaling,
            masks.cross_probs, source, keep_probs=i == self.r.probs_layer,
        )  # fmt: skip

    def _frames(
        self, number: int, layer: FeedbackLayer, masks: LayerMasks, weights: Weights, cross: bool
    ) -> list[Residual]:
        names = ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"]
        drops = [masks.memory_out, masks.cross_out, masks.ffn_out]
        if not cross:
            del names[1], drops[1]
        pre_norm, before, frames = layer.normalize_before, self.states[number], []
        for name, drop in zip(names, drops, strict=True):
            # With pre-norm the last sum is the layer's output.
            last = pre_norm and name == names[-1]
            shape, like = self.like.shape, self.states[0].all
            sums = self.states[number + 1] if last else self.tape.slots(*shape, like=like)
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            norm = Norm(weight, bias, getattr(layer, name).eps, before if pre_norm else sums)
            frames.append(Residual(norm, pre_norm, drop, sums))
            before = sums
        return frames
