"""The Compressive Transformer for translation (Rae et al. 2019, arXiv 1911.05507), a fairseq model.

Encoder, embeddings, output and training are fairseq's; the decoder's layers see their segment, a
memory of the states just before it and, beyond that, compressed states.

Convolutions learn from a loss of their own, which `--criterion memtx_compression` adds to label
smoothed cross entropy. The paper's way of training, in fairseq's flags: gradients clipped at a norm
of 0.1 (`--clip-norm 0.1`), which it calls crucial, and fewer, larger updates late in training, one
in four batches after 60,000 updates: `--update-freq 1,1,1,4` with an entry for each epoch, of which
the last holds from then on.
"""

from ..config import CompressiveOptions, flag
from ..ground.errors import UserError
from .registration import decoder_of
from .segment_decoder import SegmentDecoder


@decoder_of("compressive")
class CompressiveDecoder(SegmentDecoder):
    """A `SegmentDecoder` with a compressed memory."""

    runs_native = True
    options: CompressiveOptions

    def refuse_training(self, args) -> None:
        """A compression function must not stay as it was initialised without anyone noticing.

        Raises:
            UserError: where training uses a criterion that leaves its loss out.
        """
        criterion = getattr(args, "criterion", None)
        if self.options.has_loss and criterion not in (None, "memtx_compression"):
            raise UserError(
                f"--criterion is {criterion}: it has to be memtx_compression with"
                f" {flag('compression_loss')} {self.options.compression_loss}"
            )
