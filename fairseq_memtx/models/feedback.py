"""The Feedback Transformer for translation (Fan et al. 2020, arXiv 2002.09402) as a fairseq model.

Encoder, embeddings, output and training are fairseq's; the decoder's layers read one shared memory.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..config import FeedbackOptions, flag, from_namespace
from ..engine import (
    APPROXIMATE,
    ENGINES,
    RUNS_AGAIN,
    Engine,
    Recurrence,
    RecurrenceOutput,
    Sweeps,
)
from ..engine.checkpointing import Checkpointed
from ..ground.errors import UserError
from ..modules.cache import DecodingState, MemoryCache
from ..modules.carried_memory import CarriedMemory, num_past
from ..modules.channels import read_parts
from ..modules.dropout import LayerMasks, PackedMasks, draw_layer_masks
from ..modules.feedback import feedback_step
from ..modules.layer import FeedbackLayer
from ..modules.memory import FeedbackMemory
from ..modules.mixture import MIXTURES, ROUTED, fold_left_out
from .int8 import is_rounded
from .memory_decoder import LayersOutput, MemoryDecoder, layer_sizes, layers_kept
from .mixture_log import log_mixture
from .registration import decoder_of


def mixture_of_kept_layers(kind: str, kept: list[int] | None) -> str:
    """A mixture's kind for a pruned decoder: a state's number is that of the whole decoder."""
    if kept is None or not kind.isdecimal():
        return kind
    return str(sum(layer < int(kind) for layer in kept))


def prune_memory(
    state_dict: dict[str, Tensor], name: str, kept: list[int], options: FeedbackOptions
) -> None:
    """Fit the memory's parameters to a decoder of which only the layers `kept` are left.

    fairseq prunes what belongs to a layer by its name; the mixtures and the projections of channels
    and of single layers are ours to prune. The pruned decoder computes what the whole one does when
    layer drop leaves the other layers out (with the plain mean: of the states that are left).
    """
    _, pairs, channels = read_parts(kept, options.memory_channels, options.memory_kv == "shared")
    prune_mixture(state_dict, f"{name}.mixture", kept, channels, options)
    for part in ("k_proj", "v_proj"):
        keys = [key for key in state_dict if key.startswith(f"{name}.{part}.")]
        for key, value in [(key, state_dict.pop(key)) for key in keys]:
            *_, number, kind = key.split(".")
            if int(number) in pairs:
                state_dict[f"{name}.{part}.{pairs.index(int(number))}.{kind}"] = value


def prune_mixture(
    state_dict: dict[str, Tensor],
    name: str,
    kept: list[int],
    channels: list[int],
    options: FeedbackOptions,
) -> None:
    """The same for the mixtures, of which only those of `channels` are left."""
    weight, router = f"{name}.weight", f"{name}.router"
    if weight not in state_dict:
        return
    rows = state_dict[weight].view(options.memory_channels, -1)[channels]
    if not is_routed(options):
        rows = torch.stack([fold_left_out(row, kept) for row in rows])
    state_dict[weight] = rows if len(channels) > 1 else rows[0]
    if router in state_dict:
        maps = state_dict[router].unflatten(0, (options.memory_channels, -1))
        state_dict[router] = maps[channels].flatten(0, 1)


def is_routed(options: FeedbackOptions) -> bool:
    """Whether the memory's weights depend on the token."""
    return options.memory_mixture in MIXTURES.tagged(ROUTED)


@decoder_of("feedback")
class FeedbackDecoder(MemoryDecoder):
    """Decoder whose layers read memories of the past positions, mixtures of all layers' states.

    Beyond fairseq's contract, `forward` takes two options, with or without which nothing is kept on
    the module: `memory`, a `CarriedMemory` of the text before (also at the start of a search), and
    `keep_memory`, to find the memory after the target under "memory" beside the features.

    Args:
        cfg: fairseq's `TransformerConfig`, with the `memtx_` settings of `FeedbackOptions`.
        dictionary: the target dictionary.
        embed_tokens: the target embedding.
        no_encoder_attn: build the layers without cross-attention.

    Raises:
        UserError: for options that are impossible, alone or together.
    """

    options: FeedbackOptions

    def __init__(self, cfg, dictionary, embed_tokens, no_encoder_attn=False):
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn=no_encoder_attn)
        kept = layers_kept(cfg)
        if kept is None and self.options.memory_channels > self.num_layers:
            raise UserError(
                f"{flag('memory_channels')} is {self.options.memory_channels}: it has to be at most"
                f" {self.num_layers}, the number of decoder layers, of which each reads one"
            )
        self.is_pruned = kept is not None
        try:
            self.memory = FeedbackMemory(
                self.num_layers,
                self.embed_dim,
                cfg.decoder.attention_heads,
                mixture=mixture_of_kept_layers(str(self.options.memory_mixture), kept),
                channels=self.options.memory_channels,
                normalize=cfg.decoder.normalize_before,
                shared_kv=self.options.memory_kv == "shared",
                span=self.options.memory_span,
                num_distances=self.options.relative_positions,
                kept=kept,
            )
        except ValueError as error:
            raise UserError(f"{flag('memory_mixture')}: {error}") from None
        able = ENGINES.tagged(RUNS_AGAIN)
        if cfg.checkpoint_activations and self.options.engine not in able:
            raise UserError(
                f"{flag('engine')} is {self.options.engine}: it has to be {' or '.join(able)} with"
                " --checkpoint-activations"
            )
        if self.options.carry_len > 0 and self.embed_positions is not None:
            raise UserError(
                f"{flag('carry_len')} is {self.options.carry_len}: it has to be 0 with absolute"
                " positions, which begin anew in each block (--no-token-positional-embeddings)"
            )

    @classmethod
    def counts_distances(cls, args) -> bool:
        """Whether it has relative positions under these settings."""
        return from_namespace(args, FeedbackOptions).relative_positions > 0

    def why_not_fused(self) -> str | None:
        """What about it the fast generator's fused steps cannot do; None if they can."""
        bounded = self.options.memory_span > 0 or self.options.relative_positions > 0
        return "its memory has a span or relative positions" if bounded else None

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

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        """fairseq's hook: one layer."""
        return FeedbackLayer(layer_sizes(cfg, no_encoder_attn))

    def upgrade_state_dict_named(self, state_dict, name):
        """fairseq's hook: fit older checkpoints, and prune the memory with the layers."""
        super().upgrade_state_dict_named(state_dict, name)
        kept = layers_kept(self.cfg)
        if kept is not None:
            prune_memory(state_dict, f"{name}.memory", kept, self.options)
        return state_dict

    def run_layers(self, x, source, padding_mask, align, memory=None, keep_memory=False):
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
        if self.training and torch.is_grad_enabled():
            self.refuse_pruned()
            log_mixture(self.memory.mixture, states, padding_mask)
        if x.size(0) == 1 and self.training:
            # A single position reads no memory, but distributed training wants every gradient.
            states[-1] = states[-1] + 0.0 * sum(p.sum() for p in self.memory.parameters())
        if not keep_memory:
            return LayersOutput(states, cross_probs)
        kept = self.memory.carry(states, padding_mask, past, self.carry_len(x.size(0)))
        return LayersOutput(states, cross_probs, {"memory": kept})

    def refuse_pruned(self) -> None:
        """Raise `UserError` where a pruned decoder is trained that a checkpoint could not describe.

        fairseq forgets which layers were kept; without their numbers, nobody would know which
        channels they read and which states the routed weights are for.
        """
        routed, channels = is_routed(self.options), self.options.memory_channels
        if self.is_pruned and (routed or channels > 1):
            raise UserError(
                "--decoder-layers-to-keep is for decoding alone with"
                f" {flag('memory_mixture')} routed or several {flag('memory_channels')}"
            )

    def run_recurrence(self, r: Recurrence, masks: Iterator[LayerMasks]) -> RecurrenceOutput:
        """Run it with these dropout masks, and again for its backward where that is asked for."""
        if not (self.cfg.checkpoint_activations and self.training and torch.is_grad_enabled()):
            return self.engine()(replace(r, masks=list(masks)))
        rates = self.all_layers()[0].sizes.dropout
        return Checkpointed(self.engine(), [PackedMasks.pack(x, rates) for x in masks])(r)

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
