"""The Feedback Transformer for translation (Fan et al. 2020, arXiv 2002.09402) as a fairseq model.

Encoder, embeddings, output and training are fairseq's; the decoder's layers read one shared memory.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..config import FeedbackOptions, flag, from_namespace
from ..engine import ENGINES, RUNS_AGAIN
from ..engine.checkpointing import Checkpointed
from ..ground.errors import UserError
from ..modules.channels import read_parts
from ..modules.dropout import PackedMasks
from ..modules.layer import FeedbackLayer
from ..modules.mixture import MIXTURES, ROUTED, fold_left_out
from ..plain.feedback_steps import FeedbackSteps, feedback_memory
from .memory_decoder import MemoryDecoder, layer_sizes, layers_kept
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
class FeedbackDecoder(FeedbackSteps, MemoryDecoder):
    """Decoder whose layers read memories of the past positions, mixtures of all layers' states.

    Args:
        cfg: fairseq's `TransformerConfig`, with the `memtx_` settings of `FeedbackOptions`.
        dictionary: the target dictionary.
        embed_tokens: the target embedding.
        no_encoder_attn: build the layers without cross-attention.

    Raises:
        UserError: for options that are impossible, alone or together.
    """

    runs_native = True
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
            kind = mixture_of_kept_layers(str(self.options.memory_mixture), kept)
            options = replace(self.options, memory_mixture=kind)
            sizes = layer_sizes(cfg, no_encoder_attn)
            self.memory = feedback_memory(self.num_layers, sizes, options, kept)
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

    def run_recurrence(self, r, masks):
        """Run it with these dropout masks, and again for its backward where that is asked for."""
        if not (self.training and torch.is_grad_enabled()):
            return super().run_recurrence(r, masks)
        if self.cfg.checkpoint_activations:
            rates = self.all_layers()[0].sizes.dropout
            found = Checkpointed(self.engine(), [PackedMasks.pack(x, rates) for x in masks])(r)
        else:
            found = super().run_recurrence(r, masks)
        self.refuse_pruned()
        log_mixture(self.memory.mixture, found[0], r.padding_mask)
        return found
