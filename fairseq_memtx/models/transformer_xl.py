"""Transformer-XL for translation (Dai et al. 2019, arXiv 1901.02860) as a fairseq model.

Encoder, embeddings, output and training are fairseq's; the decoder's layers see their segment and a
memory of the states just before it, behind a stop-gradient, by relative positions.
"""

from fairseq.models import register_model
from fairseq.models.transformer import TransformerConfig

from ..config import SegmentOptions, add_flags
from .segment_decoder import SegmentDecoder
from .translation_model import MemoryTransformerModel, register_sizes


class TransformerXLDecoder(SegmentDecoder):
    """See `SegmentDecoder`."""


@register_model("memtx_transformer_xl")
class TransformerXLModel(MemoryTransformerModel):
    """fairseq's Transformer encoder with a `TransformerXLDecoder`."""

    @classmethod
    def add_args(cls, parser):
        """The Transformer's flags and those of `SegmentOptions`."""
        super().add_args(parser)
        add_flags(parser, SegmentOptions)

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens):
        """fairseq's hook."""
        cfg = TransformerConfig.from_namespace(args)
        return TransformerXLDecoder(
            cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention
        )


register_sizes("memtx_transformer_xl")
