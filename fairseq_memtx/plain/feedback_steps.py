"""What the Feedback decoder does with a target (Fan et al. 2020, arXiv 2002.09402); see
`memory_steps`.
"""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from ..config import FeedbackOptions, flag
from ..engine import APPROXIMATE, ENGINES, Engine, Recurrence, RecurrenceOutput, Sweeps
from ..modules.cache import DecodingState, MemoryCache
from ..modules.carried_memory import CarriedMemory, num_past
from ..modules.dropout import LayerMasks, draw_layer_masks
from ..modules.feedback import feedback_step
from ..modules.layer import LayerSizes
from ..modules.memory import FeedbackMemory
from ..modules.rounding import is_rounded
from .memory_steps import LayersOutput, MemorySteps


class FeedbackSteps(MemorySteps):
    """Layers that read memories of the past positions, mixtures of all layers' states.

    Beyond the contract, `forward` takes three options, with or without which nothing is kept on the
    module: `memory`, a `CarriedMemory` of the text before (also at the start of a search);
    `keep_memory`, to find the memory after the target under "memory" beside the features; and
    `unrolled`, for that to have a gradient history.
    """

    options: FeedbackOptions
    memory: FeedbackMemory

    def why_not_fused(self) -> str | None:
        """Nothing: the fast generator's fused steps can do all of it."""
        return None

    def why_not_carried(self) -> str | None:
        """Why nothing of it can be carried from one sentence to the next; None if it can."""
        options = self.options
        if self.embed_positions is not None:
            return (
                "absolute positions begin anew in each sentence (give"
                f" {flag('relative_positions')} and --no-token-positional-embeddings)"
            )
        given = options.memory_span if options.carry_len < 0 else options.carry_len
        if given > 0:
            return None
        return (
            "how much is carried must not depend on the batch (give"
            f" {flag('memory_span')} or {flag('carry_len')})"
        )

    def run_layers(
        self, x, source, padding_mask, align, memory=None, keep_memory=False, unrolled=False
    ):
        source_len = 0 if source is None else source.encoder_out.size(0)
        past = self.in_reach(memory)
        masks = self.draw_masks(x, source_len, memory_len=num_past(past) + x.size(0))
        recurrence = Recurrence(
            layers=self.kept_layers(),
            memory=self.memory,
            inputs=x,
            sources=self.read_source(source),
            padding_mask=padding_mask,
            probs_layer=align,
            past=past,
        )
        states, cross_probs = self.run_recurrence(recurrence, masks)
        if x.size(0) == 1 and self.training:
            # A single position reads no memory, but distributed training wants every gradient.
            states[-1] = states[-1] + 0.0 * sum(p.sum() for p in self.memory.parameters())
        if not keep_memory:
            return LayersOutput(states, cross_probs)
        size = self.carry_len(x.size(0))
        kept = self.memory.carry(states, padding_mask, past, size, unrolled)
        return LayersOutput(states, cross_probs, {"memory": kept})

    def run_recurrence(self, r: Recurrence, masks: Iterator[LayerMasks]) -> RecurrenceOutput:
        """Run it with these dropout masks."""
        return self.engine()(replace(r, masks=list(masks)))

    def in_reach(self, memory: CarriedMemory | None) -> CarriedMemory | None:
        """What the first position sees of the memories before the target; None for nothing."""
        if memory is not None and self.options.memory_span > 0:
            memory = memory.last(self.options.memory_span)
        return None if num_past(memory) == 0 else memory

    def carry_len(self, block: int) -> int:
        """Memories to keep after a block of so many positions."""
        given = self.options.carry_len
        if given >= 0:
            return given
        # Absolute positions begin anew in each block: they would be the wrong ones in the next.
        return 0 if self.embed_positions is not None else self.options.memory_span or block

    def engine(self) -> Engine:
        """The engine chosen for training; outside of it losses and scores are always exact."""
        options = self.options
        if is_rounded(self):  # only the plain loop calls its layers; the others read their weights
            return ENGINES["reference"]
        if options.engine in ENGINES.tagged(APPROXIMATE) and not self.training:
            return ENGINES["manual"]
        engine = ENGINES[options.engine]
        if isinstance(engine, Sweeps):
            return replace(
                engine,
                sweeps=options.sweeps,
                block=options.sweep_block,
                grads=options.sweep_grads,
                groups=options.sweep_groups,
            )
        return engine

    def step_layers(self, x, state, padding, align):
        source_len = state.sources[0].keys.size(2) if state.sources else 0
        masks = self.draw_masks(x[None], source_len, memory_len=len(state.past))
        states, cross_probs = feedback_step(
            self.kept_layers(),
            self.memory,
            x,
            state.past,
            state.sources,
            padding,
            [layer_masks.at(0) for layer_masks in masks],
        )
        probs = None if align is None else cross_probs[align]
        # (N, C) -> (1, N, C); (N, H, S) -> (H, N, 1, S)
        return LayersOutput(
            [x[None] for x in states],
            None if probs is None else probs.transpose(0, 1).unsqueeze(2),
        )

    def new_state(self, x, source, beam_size, memory=None):
        past = MemoryCache(self.memory, x, self.in_reach(memory))
        return DecodingState(past, self.read_source(source), beam_size)

    def draw_masks(self, x: Tensor, source_len: int, memory_len: int) -> Iterator[LayerMasks]:
        """The dropout masks of each layer for positions x `(T, B, C)`; none for no dropout."""
        if self.layer_dropout_active():
            for sizes in (layer.sizes for layer in self.all_layers()):
                yield draw_layer_masks(
                    sizes.dropout, x, sizes.num_heads, sizes.ffn_dim, source_len, memory_len
                )


def feedback_memory(
    num_layers: int, sizes: LayerSizes, options: FeedbackOptions, kept: list[int] | None = None
) -> FeedbackMemory:
    """The memory of a decoder with these layers, which `kept` numbers in a pruned one.

    Raises:
        ValueError: for a mixture that there is not.
    """
    return FeedbackMemory(
        num_layers,
        sizes.embed_dim,
        sizes.num_heads,
        mixture=str(options.memory_mixture),
        channels=options.memory_channels,
        normalize=sizes.normalize_before,
        shared_kv=options.memory_kv == "shared",
        span=options.memory_span,
        num_distances=options.relative_positions,
        kept=kept,
    )
