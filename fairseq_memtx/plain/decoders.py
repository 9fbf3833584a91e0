"""The decoders without fairseq, in evaluation: what builds them, and what they keep of a search.

Size legend: B sentences, T target positions, C_out output dimension, V vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..config import CompressiveOptions, FeedbackOptions, SegmentOptions
from ..modules.activations import ACTIVATIONS
from ..modules.layer import FeedbackLayer, LayerSizes
from .feedback_steps import FeedbackSteps, feedback_memory
from .memory_steps import IncrementalState, MemorySteps
from .positions import positions_of
from .segment_steps import SegmentSteps, segment_layer, without_memory
from .shapes import DecoderShape
from .transformer_steps import TransformerLayer, TransformerSteps


class Decoder(MemorySteps):
    """Embeddings, norms and output as fairseq's Transformer decoder names them.

    Args:
        shape: what it is made of.
        encoder_dim: of the encoder's output.
        embed_tokens: of the target's words.
        padding: symbol.
        shared_output: whether the words' embedding projects to them.
    """

    adaptive_softmax = quant_noise = None  # as fairseq calls what models here have not
    #: The dataclass of its options; None for none.
    options_type: Callable[..., Any] | None = None

    def __init__(
        self,
        shape: DecoderShape,
        encoder_dim: int,
        embed_tokens: nn.Embedding,
        padding: int,
        shared_output: bool,
    ):
        super().__init__()
        self.shape, self.padding_idx = shape, padding
        self.options = None if self.options_type is None else self.options_type(**shape.options)
        self.embed_dim, self.num_layers = shape.dim, shape.layers
        self.embed_tokens = embed_tokens
        self.embed_scale = math.sqrt(shape.dim) if shape.scale_embedding else 1.0
        self.project_in_dim = _projection(shape.input_dim, shape.dim)
        self.embed_positions = positions_of(
            shape.positions, shape.max_positions, shape.dim, padding
        )
        self.layernorm_embedding = nn.LayerNorm(shape.dim) if shape.norm_embedding else None
        self.dropout_module = nn.Identity()
        self.layers = nn.ModuleList(
            self.new_layer(layer_sizes(shape, encoder_dim)) for _ in range(shape.layers)
        )
        self.layer_norm = nn.LayerNorm(shape.dim) if shape.final_norm else None
        self.project_out_dim = _projection(shape.dim, shape.output_dim)
        self.output_projection = nn.Linear(shape.output_dim, embed_tokens.num_embeddings, False)
        if shared_output:
            self.output_projection.weight = embed_tokens.weight
        self.prepare_steps(reads_source=True)

    def new_layer(self, sizes: LayerSizes) -> nn.Module:
        """A decoder layer of these sizes, as the subclass has them."""
        raise NotImplementedError

    def plain_output(self, features: Tensor) -> Tensor:
        """Logits `(B, T, V)` of features `(B, T, C_out)`."""
        return self.output_projection(features)

    def max_positions(self) -> int:
        """The longest target, the end symbol counted."""
        if self.embed_positions is None:
            return self.shape.max_positions
        return min(self.shape.max_positions, self.embed_positions.max_positions)

    def get_incremental_state(self, state: IncrementalState, name: str) -> Any:
        """What a search keeps under the name; None for nothing."""
        return state.get(name)

    def set_incremental_state(self, state: IncrementalState, name: str, value: Any) -> None:
        """Keep `value` for the search under the name."""
        state[name] = value

    def reorder_incremental_state_scripting(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """fairseq's name for `reorder_incremental_state`."""
        self.reorder_incremental_state(incremental_state, new_order)

    def set_beam_size(self, beam_size: int) -> None:
        """How many rows of a search share a source."""
        self._beam_size = beam_size

    def layer_dropout_active(self) -> bool:
        """Whether layers may be left out at random: never, these models only translate."""
        return False


class TransformerDecoder(TransformerSteps, Decoder):
    """fairseq's Transformer decoder."""

    runs_native = True

    def new_layer(self, sizes: LayerSizes) -> nn.Module:
        return TransformerLayer(sizes)


class FeedbackDecoder(FeedbackSteps, Decoder):
    """With the Feedback Transformer's memory."""

    runs_native = True
    options_type = FeedbackOptions

    def __init__(self, shape: DecoderShape, encoder_dim: int, *args: Any):
        super().__init__(shape, encoder_dim, *args)
        sizes = layer_sizes(shape, encoder_dim)
        self.memory = feedback_memory(shape.layers, sizes, self.options)

    def new_layer(self, sizes: LayerSizes) -> nn.Module:
        return FeedbackLayer(sizes)


class TransformerXLDecoder(SegmentSteps, Decoder):
    """Transformer-XL: segments that see the states of those before."""

    runs_native = True
    options_type: Callable[..., Any] = SegmentOptions

    def __init__(self, shape: DecoderShape, encoder_dim: int, *args: Any):
        super().__init__(shape, encoder_dim, *args)
        for layer, has_memory in zip(self.all_layers(), shape.memory_layers, strict=True):
            without_memory(layer, has_memory)

    def new_layer(self, sizes: LayerSizes) -> nn.Module:
        return segment_layer(sizes, self.options)


class CompressiveDecoder(TransformerXLDecoder):
    """With a compressed memory besides."""

    runs_native = True
    options_type = CompressiveOptions


#: By their names in `decoders.DECODERS`.
DECODERS: dict[str, Callable[..., Decoder]] = {
    "transformer": TransformerDecoder,
    "feedback": FeedbackDecoder,
    "transformer-xl": TransformerXLDecoder,
    "compressive": CompressiveDecoder,
}


def layer_sizes(shape: DecoderShape, encoder_dim: int) -> LayerSizes:
    """Of each of the decoder's layers."""
    return LayerSizes(
        embed_dim=shape.dim,
        ffn_dim=shape.ffn_dim,
        num_heads=shape.heads,
        encoder_dim=encoder_dim,
        normalize_before=shape.pre_norm,
        activation=ACTIVATIONS[shape.activation],
    )


def _projection(inputs: int, outputs: int) -> nn.Linear | None:
    """Between two dimensions; None where they are the same."""
    return None if inputs == outputs else nn.Linear(inputs, outputs, bias=False)
