"""What a translation model is made of, in plain values: all that building it takes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..modules.activations import ACTIVATIONS

POSITIONS = ("sinusoidal", "learned", "none")
#: Of what fairseq's tables of sines say they have.
MOST_POSITIONS = 100_000


@dataclass(frozen=True)
class Shape:
    """Of an encoder, or what a decoder has in common with it.

    Attributes:
        layers: how many.
        dim: of the layers' inputs and outputs, a multiple of `heads`.
        ffn_dim: of the feed-forward networks within.
        heads: of attention.
        pre_norm: whether norms come before the sublayers.
        positions: absolute ones, one of `POSITIONS`.
        max_positions: of a text, the end symbol counted.
        scale_embedding: whether embeddings are multiplied by the root of `dim`.
        norm_embedding: whether they are normed.
        final_norm: whether the last layer's output is.
        activation: of the feed-forward networks, one of `ACTIVATIONS`.

    Raises:
        ValueError: for values that fit nothing; the message names the attribute.
    """

    layers: int
    dim: int
    ffn_dim: int
    heads: int
    pre_norm: bool
    positions: str
    max_positions: int
    scale_embedding: bool
    norm_embedding: bool
    final_norm: bool
    activation: str

    def __post_init__(self) -> None:
        for name, most in (("layers", 1_000), ("dim", 65_536), ("ffn_dim", 1_048_576),
                           ("heads", 4_096), ("max_positions", MOST_POSITIONS)):  # fmt: skip
            check_count(name, getattr(self, name), most)
        if self.dim % self.heads:
            raise ValueError(f"dim is {self.dim}: it has to be a multiple of heads, {self.heads}")
        check_one_of("positions", self.positions, POSITIONS)
        check_one_of("activation", self.activation, ACTIVATIONS)
        for name in ("pre_norm", "scale_embedding", "norm_embedding", "final_norm"):
            check_switch(name, getattr(self, name))
        if self.positions == "sinusoidal" and self.dim < 4:
            raise ValueError(f"dim is {self.dim}: sinusoidal positions need at least 4")


@dataclass(frozen=True)
class DecoderShape(Shape):
    """Of a decoder.

    Attributes:
        kind: its name in `DECODERS`.
        input_dim: of the words' embeddings.
        output_dim: of what is projected to the words.
        options: of that decoder, by name.
        memory_layers: for each layer whether it has a memory; empty for a decoder without segments.
    """

    kind: str = "transformer"
    input_dim: int = 0
    output_dim: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    memory_layers: Sequence[bool] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("input_dim", self.input_dim, 65_536)
        check_count("output_dim", self.output_dim, 65_536)
        if not isinstance(self.options, dict):
            raise ValueError(f"options is {self.options!r}: it has to be an object")
        for given in self.memory_layers:
            check_switch("memory_layers", given)


@dataclass(frozen=True)
class ModelShape:
    """Of a whole model.

    Attributes:
        encoder, decoder: its halves.
        source_words, target_words: sizes of the vocabularies.
        padding: the symbol of padding, in both.
        shared_words: whether both sides have the same embedding.
        shared_output: whether the projection to the words is the target's embedding.
    """

    encoder: Shape
    decoder: DecoderShape
    source_words: int
    target_words: int
    padding: int
    shared_words: bool
    shared_output: bool

    def __post_init__(self) -> None:
        for name in ("source_words", "target_words"):
            check_count(name, getattr(self, name), 10_000_000)
        least = min(self.source_words, self.target_words)
        if type(self.padding) is not int or not 0 <= self.padding < least:
            raise ValueError(f"padding is {self.padding!r}: it has to be a word's number")
        check_switch("shared_words", self.shared_words)
        check_switch("shared_output", self.shared_output)
        sizes = (self.source_words, self.encoder.dim)
        if self.shared_words and sizes != (self.target_words, self.decoder.input_dim):
            raise ValueError("shared_words is true, but the two sides have other sizes")
        if self.shared_output and self.decoder.input_dim != self.decoder.output_dim:
            raise ValueError("shared_output is true, but the decoder's dimensions differ")


def check_count(name: str, value: Any, most: int) -> None:
    """Refuse what is no whole number from 1 to `most`."""
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name} is {value!r}: it has to be a whole number from 1 to {most:,}")


def check_switch(name: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}: it has to be true or false")


def check_one_of(name: str, value: Any, choices: Any) -> None:
    """Refuse what is none of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}: it has to be one of {', '.join(choices)}")
