"""A translation model without fairseq, in evaluation, under the contract that searches want.

Size legend: B sentences, S source positions, T target positions, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.lane_memory import LaneBatch
from ..modules.pair_memory import PairMemory, source_side, target_side
from .decoders import DECODERS
from .encoder import Encoder
from .segment_stack import SegmentStack
from .shapes import ModelShape

Output = tuple[Tensor, dict[str, Any]]


class PlainModel(nn.Module):
    """Encoder and decoder.

    Args:
        shape: what it is made of.

    Raises:
        ValueError: for options that are impossible, alone or together.
    """

    def __init__(self, shape: ModelShape):
        super().__init__()
        self.shape, padding = shape, shape.padding
        source = nn.Embedding(shape.source_words, shape.encoder.dim, padding)
        target = source
        if not shape.shared_words:
            target = nn.Embedding(shape.target_words, shape.decoder.input_dim, padding)
        self.encoder = Encoder(shape.encoder, source, padding)
        decoder: Any = DECODERS[shape.decoder.kind](
            shape.decoder, shape.encoder.dim, target, padding, shape.shared_output
        )
        decoder.memtx_name = shape.decoder.kind
        self.decoder = decoder
        self._is_generation_fast = False

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None,
        prev_output_tokens: Tensor,
        lanes: LaneBatch | None = None,
        **options: Any,
    ) -> Output:
        """Logits and extras `(B, T, V)` of a batch; `lanes` carries memories, see `in_lanes`."""
        if lanes is not None:
            return in_lanes(self, lanes, src_tokens, src_lengths, prev_output_tokens, **options)
        encoder_out = self.encoder(src_tokens, src_lengths)
        return self.decoder(prev_output_tokens, encoder_out=encoder_out, **options)

    def get_normalized_probs(
        self, net_output: Output, log_probs: bool, sample: dict[str, Any] | None = None
    ) -> Tensor:
        """Probabilities of the words `(B, T, V)` in float32, or their logarithms."""
        normed = F.log_softmax if log_probs else F.softmax
        return normed(net_output[0], dim=-1, dtype=torch.float32)

    def max_positions(self) -> tuple[int, int]:
        """The longest source and target, end symbols counted."""
        return self.encoder.max_positions(), self.decoder.max_positions()

    def set_beam_size(self, beam_size: int) -> None:
        """How many rows of a search share a source."""
        self.decoder.set_beam_size(beam_size)

    def finish(self, need_attn: bool = False) -> None:
        """The weights stay as they are from now on, which makes decoding faster.

        Args:
            need_attn: whether the attention to the source is asked for.
        """
        self.eval().requires_grad_(False)
        self.decoder.make_generation_fast_(need_attn)
        self._is_generation_fast = True


def in_lanes(
    model: Any,
    lanes: LaneBatch,
    src_tokens: Tensor,
    src_lengths: Tensor | None,
    prev_output_tokens: Tensor,
    return_all_hiddens: bool = False,
    **options: Any,
) -> Output:
    """A pass in which memories go on from the sentences before to those after: the decoder's, and
    the encoder's where it has one.

    Args:
        model: under fairseq's contract or ours.
        lanes: the memories.
        src_tokens, src_lengths, prev_output_tokens: the batch.
        return_all_hiddens: of the encoder.
        **options: of the decoder.
    """
    before = lanes.read(id(model), src_tokens)
    carried: dict[str, Any] = {"keep_memory": True}
    if lanes.unrolled:
        carried["unrolled"] = True
    remembers = isinstance(model.encoder, SegmentStack)
    own = {"memory": source_side(before), **carried} if remembers else {}
    encoder_out = model.encoder(
        src_tokens, src_lengths=src_lengths, return_all_hiddens=return_all_hiddens, **own
    )
    options.update(memory=target_side(before), **carried)
    logits, extra = model.decoder(
        prev_output_tokens, encoder_out=encoder_out, src_lengths=src_lengths, **options
    )
    after = extra.pop("memory")
    lanes.write(id(model), PairMemory(encoder_out["memory"], after) if remembers else after)
    return logits, extra
