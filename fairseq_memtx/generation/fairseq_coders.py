"""Which of fairseq's encoders and decoders compute what Vaswani et al. 2017 have, and nothing else:
what `steppers` asks of them.
"""

from typing import Any

from fairseq.models.transformer import (
    TransformerDecoder,
    TransformerDecoderBase,
    TransformerEncoder,
    TransformerEncoderBase,
)
from fairseq.modules import transformer_layer
from torch import nn

from ..modules.int8 import Int8Linear
from ..plain.memory_steps import MemorySteps
from .steppers import is_plain_encoder, why_not_fused


@why_not_fused.register
def _(decoder: TransformerDecoderBase) -> str | None:
    """What about one of fairseq's decoders, or of ours under its contract, cannot be fused."""
    if len(decoder.layers) == 0:
        return "it is no Transformer decoder"
    if any(layer.encoder_attn is None for layer in decoder.layers):
        return "it has no cross-attention"
    if isinstance(decoder, MemorySteps):
        return decoder.why_not_fused()
    if type(decoder) not in (TransformerDecoderBase, TransformerDecoder):
        return "it is no plain Transformer decoder"
    if decoder.cross_self_attention or not all(is_plain(layer) for layer in decoder.layers):
        return "its layers are none of the plain Transformer's"
    # with quantisation noise a product over the embedded words, in evaluation too
    return None if decoder.quant_noise is None else "it was made with --quant-noise-pq"


@is_plain_encoder.register
def _(encoder: TransformerEncoderBase) -> bool:
    """Whether one of fairseq's encoders is."""
    layer_types = (
        transformer_layer.TransformerEncoderLayerBase,
        transformer_layer.TransformerEncoderLayer,
    )
    return type(encoder) in (TransformerEncoder, TransformerEncoderBase) and all(
        type(layer) in layer_types and is_plain_attention(layer.self_attn)
        for layer in encoder.layers
    )


def is_plain(layer: Any) -> bool:
    """Whether a layer computes what Vaswani et al. 2017 have and nothing else."""
    plain = (
        transformer_layer.TransformerDecoderLayerBase,
        transformer_layer.TransformerDecoderLayer,
    )
    if type(layer) not in plain:
        return False
    extras = (layer.c_attn, layer.attn_ln, layer.ffn_layernorm, layer.w_resid)
    attentions = (layer.self_attn, layer.encoder_attn)
    return all(extra is None for extra in extras) and all(map(is_plain_attention, attentions))


def is_plain_attention(attention: Any) -> bool:
    """Whether fairseq's attention has none of its additions."""
    plain = type(attention.q_proj) in (nn.Linear, Int8Linear) and attention.bias_k is None
    return plain and not attention.add_zero_attn and not attention.use_xformers
