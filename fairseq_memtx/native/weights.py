"""A model's weights as the engine's parts, and which models the engine knows.

Size legend: C model dimension, c rate of compression.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..decoding.linear import join_maps
from ..generation.steppers import is_plain_encoder, why_not_fused
from ..modules.activations import activation_of, name_of
from ..modules.compression import Compression, Conv, DilatedConv, MaxPool, MeanPool, MostUsed
from ..modules.int8 import Int8Linear
from ..modules.mixture import LayerMixture, RoutedMixture
from ..modules.segment_memory import SegmentLengths
from ..plain.feedback_steps import FeedbackSteps
from ..plain.memory_steps import MemorySteps
from ..plain.segment_steps import SegmentSteps
from .library import Parts

#: fairseq's activation functions, in the order of the engine's numbers.
ACTIVATIONS = ("relu", "gelu", "tanh", "gelu_accurate")


#: Compression functions, in the order of the engine's numbers.
COMPRESSIONS: tuple[type[Compression], ...] = (MeanPool, MaxPool, Conv, DilatedConv, MostUsed)


def why_not_native(model: Any) -> str | None:
    """What about a model the engine cannot run; None if it can."""
    decoder, encoder = model.decoder, model.encoder
    for why in (_about_tensors(model), _about_encoder(encoder), _about_decoder(decoder)):
        if why is not None:
            return why
    return None


def _about_tensors(model: Any) -> str | None:
    kinds = {(parameter.dtype, parameter.device.type) for parameter in model.parameters()}
    if kinds - {(torch.float32, "cpu")}:
        return "its weights are not in float32 on a CPU"
    linears = (m for m in model.modules() if isinstance(m, nn.Linear) or hasattr(m, "weight_int8"))
    if any(type(module) not in (nn.Linear, Int8Linear) for module in linears):
        return "its linear layers are of another kind"
    return None


def _about_encoder(encoder: Any) -> str | None:
    if not is_plain_encoder(encoder) or len(encoder.layers) == 0:
        return "its encoder is no plain Transformer's"
    if encoder.quant_noise is not None:
        return "it was made with --quant-noise-pq"
    return _about_layers(encoder.layers, lambda layer: layer.activation_fn)


def _about_decoder(decoder: Any) -> str | None:
    if isinstance(decoder, MemorySteps):
        if "runs_native" not in vars(type(decoder)):  # of this very class: a heir may do otherwise
            return "its decoder is another one"
        if any(layer.encoder_attn is None for layer in decoder.all_layers()):
            return "it has no cross-attention"
        if any(compression_of(layer) not in (None, *COMPRESSIONS) for layer in layers_of(decoder)):
            return "its compression function is another one"
    else:
        why = why_not_fused(decoder)
        if why is not None:
            return why
    if decoder.adaptive_softmax is not None:
        return "it has an adaptive softmax"
    if decoder.project_in_dim is not None or decoder.project_out_dim is not None:
        return "its embedding has another dimension than its layers"
    return _about_layers(layers_of(decoder), activation_of)


def _about_layers(layers: Sequence[Any], activation: Callable[[Any], Any]) -> str | None:
    if any(name_of(activation(layer)) not in ACTIVATIONS for layer in layers):
        return "its activation function is another one"
    norms = (m for layer in layers for m in layer.modules() if isinstance(m, nn.LayerNorm))
    if any(norm.weight is None or norm.bias is None for norm in norms):
        return "its norms have no weights"
    return None


def layers_of(decoder: Any) -> list[Any]:
    """A decoder's layers; those of ours may be drawn anew at each look."""
    return decoder.all_layers() if hasattr(decoder, "all_layers") else list(decoder.layers)


def compression_of(layer: Any) -> type[Compression] | None:
    """The kind of a layer's compression function; None for none."""
    compression = getattr(layer.self_attn, "compression", None)
    return None if compression is None else type(compression)


class Writer:
    """Writes a model's parts; their names are listed in docs/engine.md.

    Args:
        parts: where to.
        by_rows: the projection to the words is for shortlists.
        carries: its sentences may begin with memories, in view further away than they are long.
    """

    def __init__(self, parts: Parts, by_rows: bool, carries: bool = False):
        self.parts, self.by_rows, self.carries = parts, by_rows, carries

    @torch.no_grad()
    def model(self, model: Any) -> None:
        """Hand over the encoder and the decoder."""
        self.encoder(model.encoder)
        self.decoder(model.decoder)

    def encoder(self, encoder: Any) -> None:
        """Hand over fairseq's Transformer encoder."""
        self.embedding("source", encoder, encoder.max_positions())
        self.parts.number("source.pad", encoder.padding_idx)
        self.stack("encoder", encoder.layers, encoder.layers[0].self_attn.num_heads)
        for number, layer in enumerate(encoder.layers):
            name, attn = f"encoder.{number}.", layer.self_attn
            self.linear(name + "joined", [attn.q_proj, attn.k_proj, attn.v_proj], attn.scaling)
            self.linear(name + "out", [attn.out_proj])
            self.norm(name + "norm", layer.self_attn_layer_norm)
            self.feed_forward(name, layer, layer.activation_fn)
        self.norm("encoder.norm", encoder.layer_norm)

    def decoder(self, decoder: Any) -> None:
        """fairseq's decoder, or one of ours."""
        layers, feedback = layers_of(decoder), isinstance(decoder, FeedbackSteps)
        self.embedding("target", decoder, decoder.max_positions())
        self.stack("decoder", layers, layers[0].encoder_attn.num_heads)
        self.parts.number("decoder.feedback", feedback)
        for number, layer in enumerate(layers):
            self.decoder_layer(f"decoder.{number}.", layer, feedback)
        self.norm("decoder.norm", decoder.layer_norm)
        self.linear("output", [decoder.output_projection], as_rows=self.by_rows)
        self.parts.number("decoder.distances", 0)
        if feedback:
            self.memory(decoder.memory, len(layers))
        if isinstance(decoder, SegmentSteps):
            self.segments(decoder)

    def decoder_layer(self, name: str, layer: Any, feedback: bool) -> None:
        """One layer, but for how far it sees."""
        attn, cross = layer.self_attn, layer.encoder_attn
        maps = [attn.q_proj] if feedback else [attn.q_proj, attn.k_proj, attn.v_proj]
        joined, positions = join_maps(maps, attn.scaling), getattr(attn, "positions", None)
        if positions is not None and positions.content_bias is not None:
            # queries get u, and what they lack to v where they meet distances
            u, v = (attn.scaling * x.flatten() for x in
                    (positions.content_bias, positions.position_bias))  # fmt: skip
            assert joined.bias is not None
            bias = torch.cat([joined.bias[: len(u)] + u, joined.bias[len(u) :]])
            joined = joined._replace(bias=bias)
            self.parts.floats(name + "distance_bias", v - u)
        self.parts.linear(name + "joined", *joined)
        self.linear(name + "out", [attn.out_proj])
        self.linear(name + "cross_query", [cross.q_proj], cross.scaling)
        self.linear(name + "cross_keys", [cross.k_proj])
        self.linear(name + "cross_values", [cross.v_proj])
        self.linear(name + "cross_out", [cross.out_proj])
        self.norm(name + "norm", layer.self_attn_layer_norm)
        self.norm(name + "cross_norm", layer.encoder_attn_layer_norm)
        self.feed_forward(name, layer, activation_of(layer))
        self.reach(name)

    def reach(self, name: str, **given: int | None) -> None:
        """How far a layer sees; what is not given is no limit."""
        everything = {"span": 0, "segment": 0, "memory": 0, "furthest": -1, "compressed": 0}
        for part, value in {**everything, **given}.items():
            self.parts.number(name + part, -1 if value is None else value)

    def segments(self, decoder: Any) -> None:
        """What layers that work in segments have besides."""
        layers = layers_of(decoder)
        lengths = [decoder.lengths(layer) for layer in layers]
        most = max(x.compressed + x.memory + x.segment for x in lengths)
        most = most if self.carries else min(most, decoder.max_positions() + 1)
        self.parts.number("decoder.distances", most)
        for number, (layer, of_layer) in enumerate(zip(layers, lengths, strict=True)):
            name = f"decoder.{number}."
            self.segment_reach(name, layer, of_layer)
            keys = layer.self_attn.positions(most).flip(1)  # the nearest first
            self.parts.number("decoder.distances_by_head", keys.size(0) > 1)
            self.parts.floats(name + "distance_keys", keys.transpose(1, 2).contiguous())

    def segment_reach(self, name: str, layer: Any, lengths: SegmentLengths) -> None:
        """How far such a layer sees, and how it compresses what is older."""
        kind = compression_of(layer)
        compressed = 0 if kind is None else lengths.compressed
        self.reach(
            name,
            segment=lengths.segment,
            memory=lengths.memory,
            furthest=lengths.furthest,
            compressed=compressed,
        )
        if kind is None or compressed == 0:
            return
        self.parts.number(name + "rate", lengths.rate)
        self.parts.number(name + "compression", COMPRESSIONS.index(kind))
        if issubclass(kind, Conv):
            self.convolution(name + "conv", layer.self_attn.compression.conv)
        if kind is DilatedConv:
            for dilation, conv in enumerate(layer.self_attn.compression.dilated, start=1):
                assert conv.dilation == (dilation,)
                self.convolution(f"{name}dilated{dilation}", conv)

    def convolution(self, name: str, conv: nn.Conv1d) -> None:
        """A convolution as a map of all states that it sees at once, one after the other."""
        # (C_out, C_in, w) -> (C_out, w * C_in)
        self.parts.linear(name, conv.weight.transpose(1, 2).flatten(1), None, conv.bias)

    def memory(self, memory: Any, num_layers: int) -> None:
        """Hand over the Feedback memory: its pairs of projections, in the order of its channels."""
        by_channel = memory.wiring.by_channel()
        order = memory.wiring.in_order()
        self.parts.number("memory.groups", len(order))
        self.parts.number("memory.channels", len(by_channel))
        for number, pairs in enumerate(by_channel):
            projections = [part[g] for g in pairs for part in (memory.k_proj, memory.v_proj)]
            self.parts.number(f"memory.{number}.groups", len(pairs))
            self.linear(f"memory.{number}.project", projections)
        self.mixture(memory.mixture)
        self.norm("memory.norm", memory.layer_norm)
        for number in range(num_layers):
            self.reach(f"decoder.{number}.", span=memory.span)
            group = order.index(memory.wiring.layers[number])
            self.parts.number(f"decoder.{number}.group", group)
        if memory.distance_keys is not None:  # of 1, 2, ... positions
            keys = memory.distance_keys.t()
            self.parts.number("decoder.distances", keys.size(1))
            self.parts.number("decoder.distances_by_head", 0)
            self.parts.floats("decoder.distance_keys", keys.contiguous())

    def mixture(self, mixture: LayerMixture) -> None:
        """The weights of the states, or the map that makes them of the states."""
        routed = isinstance(mixture, RoutedMixture)
        self.parts.number("memory.routed", routed)
        if not isinstance(mixture, RoutedMixture):
            self.parts.floats("memory.mixture", mixture.by_channel().float().contiguous())
            return
        self.parts.number("memory.states", len(mixture.numbers))
        for place, number in enumerate(mixture.numbers):
            self.parts.number(f"memory.state.{place}", number)
        offsets = mixture.weight.flatten()
        self.parts.linear("memory.router", mixture.scaled_router(), None, offsets)

    def embedding(self, side: str, coder: Any, num_positions: int) -> None:
        """Words, positions and norm of the encoder's or the decoder's input."""
        table = coder.embed_tokens.weight
        self.parts.number(f"{side}.words", table.size(0))
        self.parts.number(f"{side}.dim", table.size(1))
        self.parts.number(f"{side}.scale", coder.embed_scale)
        self.parts.floats(f"{side}.embedding", table)
        if coder.embed_positions is not None:
            # a row for each place of a text without padding
            words = torch.full((1, num_positions), coder.padding_idx + 1)
            self.parts.number(f"{side}.num_positions", num_positions)
            self.parts.floats(f"{side}.positions", coder.embed_positions(words)[0])
        self.norm(f"{side}.norm", coder.layernorm_embedding)

    def stack(self, name: str, layers: Sequence[Any], num_heads: int) -> None:
        """What all layers have in common."""
        first = layers[0]
        self.parts.number(f"{name}.layers", len(layers))
        self.parts.number(f"{name}.heads", num_heads)
        self.parts.number(f"{name}.pre_norm", first.normalize_before)
        self.parts.number(f"{name}.activation", ACTIVATIONS.index(name_of(activation_of(first))))

    def feed_forward(self, name: str, layer: Any, activation: Any) -> None:
        """The two maps and their norm."""
        self.parts.number(name + "hidden", layer.fc1.out_features)
        self.linear(name + "fc1", [layer.fc1])
        self.linear(name + "fc2", [layer.fc2])
        self.norm(name + "final_norm", layer.final_layer_norm)

    def linear(
        self,
        name: str,
        maps: Sequence[nn.Linear | Int8Linear],
        scale: float = 1.0,
        as_rows: bool = False,
    ) -> None:
        """Maps of the same input side by side, the first times `scale`."""
        self.parts.linear(name, *join_maps(maps, scale), as_rows=as_rows)

    def norm(self, name: str, norm: Any) -> None:
        """A layer norm, where there is one."""
        if norm is not None:
            self.parts.floats(f"{name}.weight", norm.weight)
            self.parts.floats(f"{name}.bias", norm.bias)
            self.parts.number(f"{name}.eps", norm.eps)
