"""What all memory decoders share under fairseq's contract; `plain.memory_steps` has the steps.

Size legend: V vocabulary.
"""

from typing import Any

from fairseq import utils
from fairseq.models.transformer import TransformerConfig, TransformerDecoderBase
from fairseq.modules import FairseqDropout
from torch import nn

from ..config import from_namespace
from ..ground.errors import UserError
from ..modules.dropout import DropoutRates
from ..modules.layer import LayerSizes
from ..plain.memory_steps import MemorySteps


class MemoryDecoder(MemorySteps, TransformerDecoderBase):
    """fairseq's Transformer decoder with its layers' work left to a subclass.

    The contract with fairseq (arguments, return values, `output_layer`, `max_positions`, normalised
    probabilities, loading of older checkpoints) is inherited.

    Attributes:
        memtx_name: the decoder's name in `DECODERS`.
        options_type: the dataclass of its options; both are set by `registration.decoder_of`.
        options: as given.
    """

    memtx_name: str
    options_type: type[Any]
    plain_output = TransformerDecoderBase.output_layer

    def __init__(self, cfg, dictionary, embed_tokens, no_encoder_attn=False):
        refuse_what_cannot_apply(cfg, embed_tokens)
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn=no_encoder_attn)
        self.options = from_namespace(cfg, self.options_type)
        self.prepare_steps(reads_source=not no_encoder_attn)
        # Holds fairseq's --retain-dropout switch for the layers; the masks are drawn elsewhere.
        self.layer_dropout = FairseqDropout(cfg.dropout, module_name=type(self).__name__)

    @classmethod
    def counts_distances(cls, args) -> bool:
        """Whether it has relative positions under these settings, whatever absolute ones."""
        return True

    def refuse_training(self, args) -> None:
        """Raise `UserError` for settings of a training that the decoder would suffer from."""

    def layer_dropout_active(self) -> bool:
        """True in training, and in decoding with `--retain-dropout`."""
        return self.training or self.layer_dropout.apply_during_inference


def layer_sizes(cfg: TransformerConfig, no_encoder_attn: bool) -> LayerSizes:
    """fairseq's settings as the sizes of a decoder layer.

    Raises:
        UserError: where they do not fit together; the message names the flag.
    """
    return sizes_of(cfg, "decoder", None if no_encoder_attn else cfg.encoder.embed_dim)


def sizes_of(cfg: TransformerConfig, side: str, encoder_dim: int | None) -> LayerSizes:
    """The sizes of a layer of the encoder or the decoder, as `side` says.

    Raises:
        UserError: where they do not fit together; the message names the flag.
    """
    own = getattr(cfg, side)
    rates = dropout_rates(cfg)
    try:
        return LayerSizes(
            embed_dim=own.embed_dim,
            ffn_dim=own.ffn_embed_dim,
            num_heads=own.attention_heads,
            encoder_dim=encoder_dim,
            normalize_before=own.normalize_before,
            dropout=rates,
            activation=utils.get_activation_fn(cfg.activation_fn),
        )
    except ValueError as error:
        raise UserError(f"--{side}-attention-heads: {error}") from None


def dropout_rates(cfg: TransformerConfig) -> DropoutRates:
    """fairseq's three dropouts.

    Raises:
        UserError: for one that is no probability, or that leaves nothing; the message names the
            flag.
    """
    activation = cfg.activation_dropout or cfg.relu_dropout or 0.0
    rates = {"": cfg.dropout, "attention-": cfg.attention_dropout, "activation-": activation}
    for kind, rate in rates.items():
        if not 0.0 <= rate < 1.0:
            raise UserError(f"--{kind}dropout is {rate}: it has to be at least 0 and below 1")
    return DropoutRates(*rates.values())


def layers_kept(cfg: TransformerConfig) -> list[int] | None:
    """The layers that `--decoder-layers-to-keep` leaves of a trained decoder; None for all.

    Raises:
        UserError: where it is no list of numbers.
    """
    numbers = cfg.decoder.layers_to_keep
    try:
        return sorted(int(number) for number in numbers.split(",")) if numbers else None
    except ValueError:
        raise UserError(
            f"--decoder-layers-to-keep is {numbers!r}: it has to be numbers separated by commas"
        ) from None


def refuse_what_cannot_apply(cfg, embed_tokens: nn.Embedding) -> None:
    """Options of fairseq's Transformer decoder that a memory decoder cannot honour are errors.

    Among them are some that fairseq's own translation models ignore without a word.

    Raises:
        UserError: naming the flag.
    """
    refused = {
        "--offload-activations": cfg.offload_activations,
        "--cross-self-attention": cfg.cross_self_attention,
        "--base-layers": (cfg.base_layers or 0) > 0,
        "--quant-noise-pq": cfg.quant_noise.pq > 0,
        "--quant-noise-scalar": cfg.quant_noise.scalar > 0,
        "--adaptive-input": cfg.adaptive_input,
        "--tie-adaptive-weights": cfg.tie_adaptive_weights,
        "--tie-adaptive-proj": cfg.tie_adaptive_proj,
        "--char-inputs": cfg.char_inputs,
        "--decoder-xformers-att-config": cfg.decoder.xformers_att_config is not None,
        # Of language models (NormFormer); a translation model's settings lack them.
        **{
            f"--scale-{part}": getattr(cfg, f"scale_{part}", False)
            for part in ("fc", "attn", "heads", "resids")
        },
    }
    for name, given in refused.items():
        if given:
            raise UserError(f"{name} cannot be used with a memory decoder: leave it out")
    refuse_sizes(cfg, embed_tokens.embedding_dim)


def refuse_sizes(cfg, embed_dim: int) -> None:
    """Sizes that fairseq would ignore, or stumble over in the first batch, are errors.

    Raises:
        UserError: naming the flag.
    """
    if cfg.decoder.input_dim != embed_dim:  # a translation model's is --decoder-embed-dim
        raise UserError(
            f"--decoder-input-dim is {cfg.decoder.input_dim}: it has to be the embedding's"
            f" {embed_dim}"
        )
    shared = cfg.share_decoder_input_output_embed and cfg.adaptive_softmax_cutoff is None
    if shared and cfg.decoder.output_dim != embed_dim:
        raise UserError(
            f"--decoder-output-dim is {cfg.decoder.output_dim}: it has to be the shared embedding's"
            f" {embed_dim}"
        )
