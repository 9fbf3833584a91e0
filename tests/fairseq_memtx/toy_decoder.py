"""A decoder in one file, as someone else might add it: importing it makes it known everywhere.

Each layer reads a decaying average of its inputs so far.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import fairseq_memtx.models.feedback  # noqa: F401  (loads fairseq and the package)
from fairseq_memtx.config import option
from fairseq_memtx.decoders import DECODERS, DecoderEntry
from fairseq_memtx.models.memory_decoder import MemoryDecoder, layer_sizes
from fairseq_memtx.models.registration import decoder_of
from fairseq_memtx.modules.cache import DecodingState
from fairseq_memtx.modules.dropout import NO_MASKS
from fairseq_memtx.modules.layer import DecoderLayer
from fairseq_memtx.plain.memory_steps import LayersOutput


@dataclass(frozen=True)
class ToyOptions:
    """Of the toy decoder."""

    toy_decay: float = option(0.5, "share of the past in a position's average")


DECODERS.add(
    "toy",
    DecoderEntry(
        "memtx_toy",
        "memtx_toy_lm",
        options=ToyOptions,
        flags=("--memtx-toy-decay", "0.75"),
    ),
    "a decaying average, for tests",
)


class Averages:
    """What a search remembers: each layer's average `(N, C)`."""

    def __init__(self, layers: list[Tensor]):
        self.layers = layers

    def reorder(self, new_order: Tensor) -> None:
        """Row i becomes the old row `new_order[i]`."""
        self.layers = [x.index_select(0, new_order) for x in self.layers]

    def size_bytes(self) -> int:
        """Bytes held."""
        return sum(x.numel() * x.element_size() for x in self.layers)


@decoder_of("toy")
class ToyDecoder(MemoryDecoder):
    """See the module."""

    options: ToyOptions

    def build_decoder_layer(self, cfg: Any, no_encoder_attn: bool = False) -> DecoderLayer:
        """fairseq's hook: one layer."""
        sizes = layer_sizes(cfg, no_encoder_attn)
        return DecoderLayer(sizes, nn.Linear(sizes.embed_dim, sizes.embed_dim))

    def run_layers(self, x, source, padding_mask, align, **unused):
        """All positions, by steps through one after the other."""
        state = self.new_state(x[0], source, 1)
        steps = [self.step_layers(position, state, None, align).states for position in x]
        return LayersOutput([torch.cat(layer) for layer in zip(*steps, strict=True)], None)

    def step_layers(self, x, state, padding, align):
        """One position."""
        states, share = [x], self.options.toy_decay
        for number, layer in enumerate(self.all_layers()):
            state.past.layers[number] = share * state.past.layers[number] + (1 - share) * x
            read = layer.self_attn(state.past.layers[number])
            source = state.sources[number] if state.sources else None
            x, _ = layer.after_attention(x + read, source, NO_MASKS)
            states.append(x)
        return LayersOutput([x[None] for x in states], None)

    def new_state(self, x, source, beam_size, **unused):
        """The state before the first position."""
        past = Averages([torch.zeros_like(x) for _ in self.all_layers()])
        return DecodingState(past, self.read_source(source), beam_size)
