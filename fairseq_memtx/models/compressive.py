"""The Compressive Transformer for translation (Rae et al. 2019, arXiv 1911.05507), a fairseq model.

Encoder, embeddings, output and training are fairseq's; the decoder's layers see their segment, a
memory of the states just before it and, beyond that, compressed states.

Convolutions learn from a loss of their own, which `--criterion memtx_compression` adds to label
smoothed cross entropy. The paper's way of training, in fairseq's flags: gradients clipped at a norm
of 0.1 (`--clip-norm 0.1`), which it calls crucial, and fewer, larger updates late in training, one
in four batches after 60,000 updates: `--update-freq 1,1,1,4` with an entry for each epoch, of which
the last holds from then on.
"""

from fairseq.models import register_model
from fairseq.models.transformer import TransformerConfig

from ..config import CompressiveOptions, add_flags, flag
from ..errors import UserError
from .segment_decoder import SegmentDecoder
from .translation_model import MemoryTransformerModel, register_sizes


class CompressiveDecoder(SegmentDecoder):
    """See `SegmentDecoder`."""

    options_type = CompressiveOptions
    options: CompressiveOptions


@register_model("memtx_compressive")
class CompressiveTransformerModel(MemoryTransformerModel):
    """fairseq's Transformer encoder with a `CompressiveDecoder`."""

    @classmethod
    def add_args(cls, parser):
        """The Transformer's flags and those of `CompressiveOptions`."""
        super().add_args(parser)
        add_flags(parser, CompressiveOptions)

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens):
        """fairseq's hook.

        Raises:
            UserError: also where the criterion would leave the compression untaught.
        """
        cfg = TransformerConfig.from_namespace(args)
        decoder = CompressiveDecoder(
            cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention
        )
        refuse_untaught(args, decoder.options)
        return decoder


def refuse_untaught(args, options: CompressiveOptions) -> None:
    """A compression function must not stay as it was initialised without anyone noticing.

    Raises:
        UserError: where training uses a criterion that leaves its loss out.
    """
    criterion = getattr(args, "criterion", None)
    if options.has_loss and criterion not in (None, "memtx_compression"):
        raise UserError(
            f"--criterion must be memtx_compression with {flag('compression_loss')}"
            f" {options.compression_loss}, but is {criterion}"
        )


register_sizes("memtx_compressive")
