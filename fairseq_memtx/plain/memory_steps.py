"""What the memory decoders do with a target, whatever they were built by: the search's state, the
embedding, the features. `models.memory_decoder` puts it under fairseq's contract, `plain.decoders`
under one of our own, for models that are read without fairseq.

Size legend: B sentences, N rows (B * beam in a search), T target positions, S source positions,
C model dimension, H heads, V vocabulary.
"""

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..decoding.linear import FrozenCopy
from ..ground.errors import UserError
from ..modules.cache import DecodingState
from ..modules.cross_attention import CrossMemory, share_beams
from .layered import Layered

IncrementalState = dict[str, Any]


class EncoderOutput(NamedTuple):
    """The encoder's output `(S, B, C_enc)` and its padding_mask `(B, S)` or None."""

    encoder_out: Tensor
    padding_mask: Tensor | None


class LayersOutput(NamedTuple):
    """What the layers make of the embeddings.

    Attributes:
        states: the embeddings and each layer's output, `(T, B, C)` each.
        cross_probs: `(H, B, T, S)` of the alignment layer, or None.
        extra: what else the decoder returns beside its features, by name.
    """

    states: list[Tensor]
    cross_probs: Tensor | None
    extra: dict[str, Any] = {}


class MemorySteps(Layered):
    """The contract of a memory decoder, with its layers' work left to a subclass.

    Whoever builds the decoder gives it what fairseq's Transformer decoder has, by the same names:
    `embed_tokens`, `embed_scale`, `embed_positions`, `project_in_dim`, `layernorm_embedding`,
    `dropout_module`, `layers`, `num_layers`, `layer_norm`, `project_out_dim`, `output_projection`,
    `padding_idx`, the methods that keep an incremental state, and `plain_output`, which makes
    logits of features. The state of a search lives in `incremental_state` as one `DecodingState`,
    never on the module.

    Attributes:
        options: of the decoder.
        reads_source: whether its layers have cross-attention.
    """

    options: Any
    reads_source: bool
    embed_tokens: Any
    embed_scale: float
    embed_positions: Any
    project_in_dim: Any
    layernorm_embedding: Any
    dropout_module: Any
    num_layers: int
    layer_norm: Any
    project_out_dim: Any
    output_projection: Any
    padding_idx: int
    get_incremental_state: Any
    set_incremental_state: Any
    layer_dropout_active: Any
    plain_output: Any
    cfg: Any

    def prepare_steps(self, reads_source: bool) -> None:
        """What the steps keep on the decoder; to be called when it is built."""
        self.reads_source = reads_source
        self.need_attn, self.made_fast = True, False
        self.frozen_output = FrozenCopy()

    def why_not_carried(self) -> str | None:
        """Why nothing of it can be carried from one sentence to the next; None if it can."""
        return "it has no memory that outlives a sentence"

    def why_not_fused(self) -> str | None:
        """What about it the fast generator's fused steps cannot do; None if they can.

        A decoder that `decoding.fused` does not know runs by its own steps.
        """
        return "its steps have no fused form"

    @abstractmethod
    def run_layers(
        self,
        x: Tensor,
        source: EncoderOutput | None,
        padding_mask: Tensor | None,
        align: int | None,
    ) -> LayersOutput:
        """All positions (training, scoring): x `(T, B, C)`, padding_mask `(B, T)` or None."""

    @abstractmethod
    def step_layers(
        self, x: Tensor, state: DecodingState, padding: Tensor | None, align: int | None
    ) -> LayersOutput:
        """One position of a search: x `(N, C)`, padding `(N,)` or None. The output has T = 1."""

    @abstractmethod
    def new_state(self, x: Tensor, source: EncoderOutput | None, beam_size: int) -> DecodingState:
        """The state before the first position; a row of `source` serves `beam_size` rows of x."""

    def forward(
        self,
        prev_output_tokens,
        encoder_out=None,
        incremental_state=None,
        features_only=False,
        src_lengths=None,
        return_all_hiddens=False,
        **options,
    ):
        """Logits `(B, T, V)`, or features; `options` go to `extract_features`, which see."""
        x, extra = self.extract_features(
            prev_output_tokens, encoder_out, incremental_state, **options
        )
        return (x if features_only else self.output_layer(x)), extra

    def extract_features(
        self,
        prev_output_tokens,
        encoder_out=None,
        incremental_state=None,
        full_context_alignment=False,
        alignment_layer=None,
        alignment_heads=None,
        **memory_options,
    ):
        """Features `(B, T, C)`, T = 1 in a search, and `{"attn": ..., "inner_states": ...}`.

        `memory_options` go to `run_layers` or, at the start of a search, to `new_state`.

        Raises:
            UserError: for `full_context_alignment`, which a recurrent memory cannot give.
            FloatingPointError: in a search, where a feature is NaN (fairseq would go on in
                silence).
        """
        if full_context_alignment:
            raise UserError("--full-context-alignment cannot be used with a memory decoder")
        align = self.num_layers - 1 if alignment_layer is None else alignment_layer
        align = align if self.need_attn else None
        looked_at = prev_output_tokens
        if incremental_state is not None and self.embed_positions is None:
            # Where only the last word counts, a step must not cost more after a longer prefix.
            looked_at = looked_at[:, -1:]
        padding_mask = some_padding(looked_at.eq(self.padding_idx))
        x = self.embed(prev_output_tokens, incremental_state, padding_mask)
        if incremental_state is None:
            source = self.source_of(encoder_out)
            out = self.run_layers(x, source, padding_mask, align, **memory_options)
        else:
            state = self.get_incremental_state(incremental_state, "memory")
            if state is None:
                state = self.first_state(x[0], self.source_of(encoder_out), **memory_options)
                self.set_incremental_state(incremental_state, "memory", state)
            padding = None if padding_mask is None else padding_mask[:, -1]
            out = self.step_layers(x[0], state, padding, align)
            if has_nan(out.states[-1]):
                raise FloatingPointError("the decoder's output is NaN: the model has diverged")
        attn = None if out.cross_probs is None else mean_heads(out.cross_probs, alignment_heads)
        extra = {"attn": [attn], "inner_states": out.states, **out.extra}
        return self.finish(out.states[-1]), extra

    def embed(
        self,
        tokens: Tensor,
        incremental_state: IncrementalState | None = None,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Embeddings with positions, norm and dropout `(T, B, C)`; in a search the last one.

        Args:
            tokens: `(B, T)`, the whole prefix in a search too.
            incremental_state: of the search, or None.
            padding_mask: `(B, T)`, True at target padding, or None where there is none.
        """
        positions = None
        if self.embed_positions is not None:
            # In a search fairseq numbers the last position by the length of the prefix, which is
            # wrong where padding stands on its left.
            one_position = incremental_state if padding_mask is None else None
            if one_position is None:
                positions = self.embed_positions(tokens)
            else:
                positions = self.position_of(tokens)
        if incremental_state is not None:
            tokens = tokens[:, -1:]
            positions = None if positions is None else positions[:, -1:]
        x = self.embed_scale * self.embed_tokens(tokens)
        if self.project_in_dim is not None:
            x = self.project_in_dim(x)
        if positions is not None:
            x = x + positions
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        # (B, T, C) -> (T, B, C)
        return self.dropout_module(x).transpose(0, 1)

    def position_of(self, tokens: Tensor) -> Tensor:
        """The embedding `(1, 1, C)` of the last of tokens `(B, T)` without padding."""
        # fairseq's modules spend more time on finding the row than on anything else.
        table = getattr(self.embed_positions, "weights", None)  # of sines
        table = self.embed_positions.weight if table is None else table
        number = self.padding_idx + tokens.size(1)
        if number >= table.size(0):  # a table of sines grows
            return self.embed_positions(tokens, incremental_state={})[:1, -1:]
        return table[number].view(1, 1, -1)

    def finish(self, x: Tensor) -> Tensor:
        """The last state `(T, B, C)` to features `(B, T, C_out)`."""
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        x = x.transpose(0, 1)
        return x if self.project_out_dim is None else self.project_out_dim(x)

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits `(B, T, V)` of features `(B, T, C_out)`."""
        linear = self.output_projection
        if not self.made_fast or type(linear) is not nn.Linear or torch.is_grad_enabled():
            return self.plain_output(features)
        return self.frozen_output(linear, features)

    def first_state(
        self, x: Tensor, source: EncoderOutput | None, **memory_options: Any
    ) -> DecodingState:
        """The state before the first position of a search with rows x `(N, C)`.

        fairseq repeats the source for each beam; its keys and values are kept once a sentence.

        Raises:
            ValueError: where a memory of the text before has another number of rows.
        """
        memory = memory_options.get("memory")
        if memory is not None and memory.num_rows != x.size(0):
            raise ValueError(
                f"the memory has {memory.num_rows} rows instead of {x.size(0)}, one for each row of"
                " the search"
            )
        beam_size = getattr(self, "_beam_size", 1)
        shared = None if source is None else share_source(source, beam_size)
        if shared is None:
            return self.new_state(x, source, 1, **memory_options)
        return self.new_state(x, shared, beam_size, **memory_options)

    def source_of(self, encoder_out: dict[str, list[Tensor]] | None) -> EncoderOutput | None:
        """What the layers attend to; None for a decoder that reads no source."""
        return as_source(encoder_out) if self.reads_source else None

    def read_source(self, source: EncoderOutput | None) -> list[CrossMemory]:
        """Each layer's keys and values of the source; empty without cross-attention."""
        if source is None:
            return []
        attentions = [layer.encoder_attn for layer in self.all_layers()]
        return [attn.read_source(*source) for attn in attentions if attn is not None]

    def reorder_incremental_state(self, incremental_state: IncrementalState, new_order: Tensor):
        """Let the state's rows follow the beams: row i becomes the old row `new_order[i]`."""
        state = self.get_incremental_state(incremental_state, "memory")
        if state is not None:
            state.reorder(new_order)

    def incremental_state_bytes(self, incremental_state: IncrementalState) -> int:
        """Bytes that the state of a search holds: memories and the source's keys and values."""
        state = self.get_incremental_state(incremental_state, "memory")
        return 0 if state is None else state.size_bytes()

    def make_generation_fast_(self, need_attn: bool = False, **unused):
        """fairseq's hook before decoding, after which the weights stay as they are.

        Cross-attention is returned only for an alignment, and the projection to the vocabulary
        keeps a copy of its weight that is faster to use.
        """
        self.need_attn, self.made_fast = need_attn, True


def as_source(encoder_out: dict[str, list[Tensor]] | None) -> EncoderOutput | None:
    """fairseq's dictionary of lists as a `EncoderOutput`; None without an encoder."""
    if encoder_out is None or not encoder_out["encoder_out"]:
        return None
    masks = encoder_out["encoder_padding_mask"]
    mask = some_padding(masks[0]) if masks else None
    return EncoderOutput(encoder_out["encoder_out"][0], mask)


def share_source(source: EncoderOutput, beam_size: int) -> EncoderOutput | None:
    """One row per sentence of a source whose rows repeat `beam_size` times; None if they do not."""
    encoder_out, mask = share_beams(source.encoder_out, 1, beam_size), source.padding_mask
    if encoder_out is None or mask is None:
        return None if encoder_out is None else EncoderOutput(encoder_out, None)
    mask = share_beams(mask, 0, beam_size)
    return None if mask is None else EncoderOutput(encoder_out, mask)


def some_padding(mask: Tensor) -> Tensor | None:
    """The mask if it holds any True, else None, which is cheaper for everything that follows."""
    return mask if bool(mask.any()) else None


def has_nan(x: Tensor) -> bool:
    """Whether any element is NaN."""
    # A sum that is a number says so at a fraction of the cost.
    return not math.isfinite(x.sum()) and bool(x.isnan().any())


def mean_heads(probs: Tensor, num_heads: int | None) -> Tensor:
    """Mean of `(H, B, T, S)` over the first `num_heads` heads (None: all), `(B, T, S)`."""
    return probs[:num_heads].mean(dim=0)
