"""The Feedback Transformer for translation (Fan et al. 2020, arXiv 2002.09402) as a fairseq model.

Encoder, embeddings, output and training are fairseq's; the decoder's layers read one shared memory.
"""

from collections.abc import Callable

from fairseq import utils
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerConfig, transformer_legacy
from torch import Tensor

from ..config import FeedbackOptions, add_flags, flag, from_namespace
from ..engine import ENGINES, Recurrence
from ..errors import UserError
from ..modules.cache import DecodingState, MemoryCache
from ..modules.cross_attention import CrossMemory
from ..modules.dropout import DropoutRates, LayerMasks, draw_layer_masks
from ..modules.feedback import feedback_step
from ..modules.layer import FeedbackLayer, LayerSizes
from ..modules.memory import FeedbackMemory
from ..modules.mixture import fold_left_out
from .memory_decoder import LayersOutput, MemoryDecoder, Source
from .translation_model import MemoryTransformerModel


def layer_sizes(cfg: TransformerConfig, no_encoder_attn: bool) -> LayerSizes:
    """fairseq's settings as the sizes of a layer."""
    return LayerSizes(
        embed_dim=cfg.decoder.embed_dim,
        ffn_dim=cfg.decoder.ffn_embed_dim,
        num_heads=cfg.decoder.attention_heads,
        encoder_dim=None if no_encoder_attn else cfg.encoder.embed_dim,
        normalize_before=cfg.decoder.normalize_before,
        dropout=DropoutRates(
            hidden=cfg.dropout,
            attention=cfg.attention_dropout,
            activation=cfg.activation_dropout or cfg.relu_dropout or 0.0,
        ),
        activation=utils.get_activation_fn(cfg.activation_fn),
    )


def feedback_options(cfg: TransformerConfig) -> FeedbackOptions:
    """The decoder's options in fairseq's settings.

    Raises:
        UserError: where a value is impossible; the message names the flag.
    """
    try:
        options = from_namespace(cfg, FeedbackOptions)
    except ValueError as error:
        raise UserError(str(error)) from None
    if options.engine not in ENGINES:
        names = ", ".join(ENGINES)
        raise UserError(f"{flag('engine')} must be one of {names}, but is {options.engine!r}")
    return options


def layers_kept(cfg: TransformerConfig) -> list[int] | None:
    """The layers that `--decoder-layers-to-keep` leaves of a trained decoder; None for all."""
    numbers = cfg.decoder.layers_to_keep
    return sorted(int(number) for number in numbers.split(",")) if numbers else None


def mixture_of_kept_layers(kind: str, kept: list[int] | None) -> str:
    """A mixture's kind for a pruned decoder: a state's number is that of the whole decoder."""
    if kept is None or not kind.isdecimal():
        return kind
    return str(sum(layer < int(kind) for layer in kept))


def prune_memory(state_dict: dict[str, Tensor], name: str, kept: list[int]) -> None:
    """Fit the memory's parameters to a decoder of which only the layers `kept` are left.

    fairseq prunes what belongs to a layer by its name; the mixture and the projections of
    single layers are ours to prune. The pruned decoder computes what the whole one does when
    layer drop leaves the other layers out (with the plain mean: of the states that are left).
    """
    weight = f"{name}.mixture.weight"
    if weight in state_dict:
        state_dict[weight] = fold_left_out(state_dict[weight], kept)
    for part in ("k_proj", "v_proj"):
        projections = [key for key in state_dict if key.startswith(f"{name}.{part}.")]
        if len({key.split(".")[-2] for key in projections}) == 1:
            continue  # shared by all layers
        for key in projections:
            value, (*_, number, kind) = state_dict.pop(key), key.split(".")
            if int(number) in kept:
                state_dict[f"{name}.{part}.{kept.index(int(number))}.{kind}"] = value


class FeedbackDecoder(MemoryDecoder):
    """Decoder whose layers all read one memory per past position, a mixture of all states.

    Args:
        cfg: fairseq's `TransformerConfig`, with the `memtx_` settings of `FeedbackOptions`.
        dictionary: the target dictionary.
        embed_tokens: the target embedding.
        no_encoder_attn: build the layers without cross-attention.

    Raises:
        UserError: for options that are impossible, alone or together.
    """

    def __init__(self, cfg, dictionary, embed_tokens, no_encoder_attn=False):
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn=no_encoder_attn)
        self.options = feedback_options(cfg)
        try:
            self.memory = FeedbackMemory(
                self.num_layers,
                self.embed_dim,
                cfg.decoder.attention_heads,
                mixture=mixture_of_kept_layers(str(self.options.memory_mixture), layers_kept(cfg)),
                normalize=cfg.decoder.normalize_before,
                shared_kv=self.options.memory_kv == "shared",
                span=self.options.memory_span,
                num_distances=self.options.relative_positions,
            )
        except ValueError as error:
            raise UserError(f"{flag('memory_mixture')}: {error}") from None

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        """fairseq's hook: one layer."""
        try:
            return FeedbackLayer(layer_sizes(cfg, no_encoder_attn))
        except ValueError as error:
            raise UserError(f"--decoder-attention-heads: {error}") from None

    def upgrade_state_dict_named(self, state_dict, name):
        """fairseq's hook: fit older checkpoints, and prune the memory with the layers."""
        super().upgrade_state_dict_named(state_dict, name)
        kept = layers_kept(self.cfg)
        if kept is not None:
            prune_memory(state_dict, f"{name}.memory", kept)
        return state_dict

    def run_layers(self, x, source, padding_mask, align):
        source_len = 0 if source is None else source.encoder_out.size(0)
        recurrence = Recurrence(
            layers=self.kept_layers(),
            memory=self.memory,
            inputs=x,
            sources=self.read_source(source),
            padding_mask=padding_mask,
            masks=self.draw_masks(x, source_len, memory_len=x.size(0)),
            probs_layer=align,
        )
        states, cross_probs = ENGINES[self.options.engine](recurrence)
        if x.size(0) == 1 and self.training:
            # A single position reads no memory, but distributed training wants every gradient.
            states[-1] = states[-1] + 0.0 * sum(p.sum() for p in self.memory.parameters())
        return LayersOutput(states, cross_probs)

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

    def new_state(self, x, source, beam_size):
        return DecodingState(MemoryCache(self.memory, x), self.read_source(source), beam_size)

    def read_source(self, source: Source | None) -> list[CrossMemory]:
        """Each layer's keys and values of the source; empty without cross-attention."""
        if source is None:
            return []
        attentions = [layer.encoder_attn for layer in self.all_layers()]
        return [attn.read_source(*source) for attn in attentions if attn is not None]

    def all_layers(self) -> list[FeedbackLayer]:
        """The layers, layer drop or not; iterating over `layers` itself draws which to drop."""
        return list(self.layers._modules.values())

    def kept_layers(self) -> list[FeedbackLayer | None]:
        """All layers, None for those that layer drop leaves out of this pass."""
        kept = {id(layer) for layer in self.layers}
        return [layer if id(layer) in kept else None for layer in self.all_layers()]

    def draw_masks(self, x: Tensor, source_len: int, memory_len: int) -> list[LayerMasks]:
        """Every layer's dropout masks for positions x `(T, B, C)`; empty for no dropout."""
        if not self.layer_dropout_active():
            return []
        return [
            draw_layer_masks(
                sizes.dropout, x, sizes.num_heads, sizes.ffn_dim, source_len, memory_len
            )
            for sizes in (layer.sizes for layer in self.all_layers())
        ]


@register_model("memtx_feedback")
class FeedbackTransformerModel(MemoryTransformerModel):
    """fairseq's Transformer encoder with a `FeedbackDecoder`."""

    @classmethod
    def add_args(cls, parser):
        """The Transformer's flags and those of `FeedbackOptions`."""
        super().add_args(parser)
        add_flags(parser, FeedbackOptions)

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens):
        """fairseq's hook."""
        cfg = TransformerConfig.from_namespace(args)
        return FeedbackDecoder(cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention)


# The usual size variants, with the sizes of fairseq's Transformer of the same name. The function
# of an architecture only fills in what neither the command line nor the checkpoint gives.
SIZE_VARIANTS: dict[str, Callable] = {
    "memtx_feedback": transformer_legacy.base_architecture,
    "memtx_feedback_tiny": transformer_legacy.tiny_architecture,
    "memtx_feedback_iwslt_de_en": transformer_legacy.transformer_iwslt_de_en,
    "memtx_feedback_wmt_en_de": transformer_legacy.transformer_wmt_en_de,
    "memtx_feedback_wmt_en_de_big": transformer_legacy.transformer_wmt_en_de_big,
}
for _name, _fill_in in SIZE_VARIANTS.items():
    register_model_architecture("memtx_feedback", _name)(_fill_in)
