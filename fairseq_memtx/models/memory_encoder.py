"""fairseq's Transformer encoder with a memory of the source sentences before."""

from typing import Any

from fairseq.models.transformer import TransformerConfig, TransformerEncoderBase
from torch import Tensor

from ..config import EncoderOptions, flag
from ..ground.errors import UserError
from ..modules.bidirectional import BidirectionalAttention
from ..modules.relative_positions import SinusoidalPositions
from ..modules.segment_layer import SegmentLayer
from ..modules.segment_memory import SegmentLengths, SegmentMemory
from ..plain.memory_steps import some_padding
from .checkpointed_stack import CheckpointedStack
from .memory_decoder import sizes_of


class MemoryEncoder(CheckpointedStack, TransformerEncoderBase):
    """An encoder each of whose layers sees the sentence and the states before it.

    It has no absolute positions, only relative ones. Beyond fairseq's contract `forward` takes
    three options: `memory`, a `SegmentMemory` of the sentences before; `keep_memory`, to find that
    after this sentence under "memory"; and `unrolled`, for gradients to go back through memories.

    Args:
        cfg: fairseq's `TransformerConfig`.
        options: the encoder's own.
        dictionary: the source dictionary.
        embed_tokens: the source embedding.

    Raises:
        UserError: for options that are impossible together.
    """

    max_source_positions: int
    padding_idx: int
    dropout_module: Any
    forward_embedding: Any
    layer_norm: Any

    def __init__(
        self, cfg: TransformerConfig, options: EncoderOptions, dictionary: Any, embed_tokens: Any
    ):
        refuse_for_encoder(cfg)
        super().__init__(cfg, dictionary, embed_tokens)
        self.embed_positions = None
        # One segment holds any sentence.
        self._lengths = SegmentLengths(self.max_source_positions, options.encoder_memory)

    def build_encoder_layer(self, cfg):
        """fairseq's hook: one layer."""
        sizes = sizes_of(cfg, "encoder", None)
        try:
            positions = SinusoidalPositions(sizes.embed_dim, sizes.num_heads)
        except ValueError as error:
            raise UserError(f"--encoder-embed-dim: {error}") from None
        attention = BidirectionalAttention(
            sizes.embed_dim, sizes.num_heads, positions, dropout=sizes.dropout.attention
        )
        return SegmentLayer(sizes, attention)

    def lengths(self, layer: SegmentLayer) -> SegmentLengths:
        """Of the layers' memories."""
        return self._lengths

    def layer_dropout_active(self) -> bool:
        """True in training, and in decoding with `--retain-dropout`."""
        return self.training or self.dropout_module.apply_during_inference

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
        memory: SegmentMemory | None = None,
        keep_memory: bool = False,
        unrolled: bool = False,
    ) -> dict[str, Any]:
        """fairseq's dictionary for src_tokens `(B, S)`, padded on either side."""
        padding_mask = src_tokens.eq(self.padding_idx)
        x, words = self.forward_embedding(src_tokens, token_embeddings)
        # (B, S, C) -> (S, B, C)
        x, hidden = x.transpose(0, 1), some_padding(padding_mask)
        out = self.run_layers(x, None, hidden, None, memory, keep_memory, unrolled)
        x = out.states[-1] if self.layer_norm is None else self.layer_norm(out.states[-1])
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [padding_mask],
            "encoder_embedding": [words],
            "encoder_states": out.states if return_all_hiddens else [],
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [(~padding_mask).sum(dim=1, keepdim=True).int()],
            **out.extra,
        }

    def upgrade_state_dict_named(self, state_dict, name):
        """fairseq's hook: no checkpoint of this encoder is older than fairseq's names of now."""
        return state_dict


def refuse_for_encoder(cfg: TransformerConfig) -> None:
    """Options of fairseq's encoder that one with a memory cannot honour are errors.

    Those that a memory decoder refuses too are refused there.

    Raises:
        UserError: naming the flag.
    """
    refused = {
        "--encoder-learned-pos": cfg.encoder.learned_pos,
        "--encoder-xformers-att-config": cfg.encoder.xformers_att_config is not None,
    }
    for name, given in refused.items():
        if given:
            raise UserError(f"{name} cannot be used with {flag('encoder_memory')}: leave it out")
