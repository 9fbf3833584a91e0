"""The shape of a model of fairseq's, ours or its own, read off its modules."""

from dataclasses import asdict
from typing import Any

from torch import nn

from ..decoders import DECODERS, name_of
from ..generation.steppers import is_plain_encoder, why_not_fused
from ..ground.errors import UserError
from ..modules import activations
from ..plain.memory_steps import MemorySteps
from ..plain.shapes import DecoderShape, ModelShape, Shape


def shape_of(model: Any) -> ModelShape:
    """What the model is made of.

    Raises:
        UserError: for a model that cannot be rebuilt without fairseq; the message says why.
    """
    reason = why_not_rebuilt(model)
    if reason is not None:
        raise UserError(f"the model cannot be exported: {reason}")
    encoder, decoder = model.encoder, model.decoder
    words, projection = decoder.embed_tokens.weight, decoder.output_projection
    try:
        return ModelShape(
            encoder=Shape(**_common(encoder, encoder.layers, encoder.max_source_positions)),
            decoder=_decoder_shape(decoder),
            source_words=encoder.embed_tokens.num_embeddings,
            target_words=decoder.embed_tokens.num_embeddings,
            padding=decoder.padding_idx,
            shared_words=encoder.embed_tokens.weight is words,
            shared_output=getattr(projection, "weight", None) is words,
        )
    except ValueError as error:
        raise UserError(f"the model cannot be exported: its {error}") from None


def why_not_rebuilt(model: Any) -> str | None:
    """What about a model is not in `plain`; None if nothing."""
    encoder, decoder = model.encoder, model.decoder
    if not is_plain_encoder(encoder) or encoder.quant_noise is not None:
        return "its encoder is no plain Transformer's"
    if isinstance(decoder, MemorySteps):
        if "runs_native" not in vars(type(decoder)):
            return f"its decoder is a {type(decoder).__name__}"
        layers = decoder.all_layers()
    else:
        reason = why_not_fused(decoder)
        if reason is not None:
            return reason
        layers = list(decoder.layers)
    if decoder.adaptive_softmax is not None:
        return "it has an adaptive softmax"
    if not layers or any(layer.encoder_attn is None for layer in layers):
        return "it has no cross-attention"
    if decoder.cfg.decoder.layers_to_keep or encoder.cfg.encoder.layers_to_keep:
        return "layers of it are left out (--encoder-layers-to-keep, --decoder-layers-to-keep)"
    if getattr(decoder, "share_input_output_embed", False):
        return None
    return "its projection has a bias" if decoder.output_projection.bias is not None else None


def _common(coder: Any, layers: Any, max_positions: int) -> dict[str, Any]:
    """What encoder and decoder have in common."""
    first = next(iter(layers))
    name = activations.name_of(activations.activation_of(first))
    if name is None:
        raise ValueError("activation function is another one than fairseq's")
    return {
        "layers": len(layers),
        "dim": first.final_layer_norm.normalized_shape[0],
        "ffn_dim": first.fc1.out_features,
        "heads": first.self_attn.num_heads,
        "pre_norm": bool(first.normalize_before),
        "positions": _positions(coder.embed_positions),
        "max_positions": max_positions,
        "scale_embedding": coder.embed_scale != 1.0,
        "norm_embedding": coder.layernorm_embedding is not None,
        "final_norm": coder.layer_norm is not None,
        "activation": name,
    }


def _positions(embedding: Any) -> str:
    if embedding is None:
        return "none"
    return "learned" if isinstance(embedding, nn.Embedding) else "sinusoidal"


def _decoder_shape(decoder: Any) -> DecoderShape:
    own = isinstance(decoder, MemorySteps)
    layers = decoder.all_layers() if own else list(decoder.layers)
    kind = name_of(decoder)
    segmented = DECODERS[kind].is_segmented
    return DecoderShape(
        **_common(decoder, layers, decoder.max_target_positions),
        kind=kind,
        input_dim=decoder.embed_tokens.embedding_dim,
        output_dim=decoder.output_projection.in_features,
        options=asdict(decoder.options) if own else {},
        memory_layers=[bool(layer.has_memory) for layer in layers] if segmented else [],
    )
