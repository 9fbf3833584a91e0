"""Transformer-XL for translation (Dai et al. 2019, arXiv 1901.02860) as a fairseq model.

Encoder, embeddings, output and training are fairseq's; the decoder's layers see their segment and a
memory of the states just before it, behind a stop-gradient, by relative positions.
"""

from .registration import decoder_of
from .segment_decoder import SegmentDecoder


@decoder_of("transformer-xl")
class TransformerXLDecoder(SegmentDecoder):
    """A `SegmentDecoder` without compressed memory."""

    runs_native = True
