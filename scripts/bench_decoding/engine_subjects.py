"""One step of a Feedback decoder in a beam search, as several engines run it.

Not at all a user's model: the past is given whole, and nothing is kept between steps.

Size legend: B sentences, R rows a sentence, N = B * R, C model dimension, H heads, D = C / H, S
source positions, s slots of the past, L layers, V vocabulary.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fairseq_memtx.decoding import fused
from fairseq_memtx.decoding.linear import FrozenLinear
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.int8 import Int8Linear


class Sizes(NamedTuple):
    """C, H, the inner dimension, V and L."""

    dim: int
    heads: int
    inner: int
    words: int
    layers: int


class Inputs(NamedTuple):
    """Embedded words `(N, C)`; the past's keys and values `(B, H, s, D)` with their bias
    `(B, 1, R, s)`; the source's `(L, B, H, S, D)`.
    """

    x: Tensor
    keys: Tensor
    values: Tensor
    bias: Tensor
    source_keys: Tensor
    source_values: Tensor


#: Axes of the inputs that differ between steps, for the exporters.
AXES = (
    {0: "N"},
    {0: "B", 2: "s"},
    {0: "B", 2: "s"},
    {0: "B", 2: "R", 3: "s"},
    {1: "B", 3: "S"},
    {1: "B", 3: "S"},
)

Step = Callable[..., tuple[Tensor, Tensor]]  # log-probabilities (N, V), keys and values (N, 2C)


def make_inputs(sizes: Sizes, sentences: int, rows: int, slots: int, source: int) -> Inputs:
    """Random ones."""
    dim, heads = sizes.dim, sizes.heads
    past = (sentences, heads, slots, dim // heads)
    cross = (sizes.layers, sentences, heads, source, dim // heads)
    return Inputs(
        torch.randn(sentences * rows, dim),
        torch.randn(past),
        torch.randn(past),
        torch.zeros(sentences, 1, rows, slots),
        torch.randn(cross),
        torch.randn(cross),
    )


class PlainLayer(nn.Module):
    """A decoder layer, norms after."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        dim, self.heads = sizes.dim, sizes.heads
        self.query, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.cross_query, self.cross_out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, sizes.inner), nn.Linear(sizes.inner, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))

    def forward(self, x, keys, values, bias, source_keys, source_values):
        x = self.norms[0](x + self.out(self._attend(self.query(x), keys, values, bias)))
        context = self._attend(self.cross_query(x), source_keys, source_values, None)
        x = self.norms[1](x + self.cross_out(context))
        return self.norms[2](x + self.fc2(self.fc1(x).relu()))

    def _attend(self, query, keys, values, bias):
        head_dim = query.size(1) // self.heads
        query = query.view(keys.size(0), -1, self.heads, head_dim).transpose(1, 2)
        scores = query @ keys.transpose(2, 3) * head_dim**-0.5
        probs = (scores if bias is None else scores + bias).softmax(-1)
        return (probs @ values).transpose(1, 2).reshape(-1, self.heads * head_dim)


class PlainStep(nn.Module):
    """The step in plain PyTorch, what all others are made from; called with `Inputs`."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.layers = nn.ModuleList(PlainLayer(sizes) for _ in range(sizes.layers))
        self.mixture = nn.Parameter(torch.randn(sizes.layers + 1).softmax(0))
        self.memory = nn.Linear(sizes.dim, 2 * sizes.dim)
        self.output = nn.Linear(sizes.dim, sizes.words, bias=False)

    def forward(self, x, keys, values, bias, source_keys, source_values):
        mixed = x * self.mixture[0]
        for index, layer in enumerate(self.layers):
            x = layer(x, keys, values, bias, source_keys[index], source_values[index])
            mixed = mixed + x * self.mixture[index + 1]
        return self.output(x).log_softmax(-1), self.memory(mixed)


def prepared(step: PlainStep, int8: bool) -> Step:
    """The step as the decoding mode runs it, on its prepared weights."""

    def freeze(linear: nn.Linear, **options: Any) -> FrozenLinear:
        return FrozenLinear([Int8Linear.of(linear) if int8 else linear], **options)

    def frozen(layer: PlainLayer) -> tuple[FrozenLinear, ...]:
        scale = (layer.query.in_features // layer.heads) ** -0.5
        ins = freeze(layer.query, scale=scale), freeze(layer.cross_query, scale=scale)
        outs = freeze(layer.out), freeze(layer.cross_out)
        return *ins, *outs, freeze(layer.fc1, relu=True), freeze(layer.fc2)

    own: list[Any] = list(step.layers)
    layers = [(frozen(layer), layer.norms) for layer in own]
    mixture, memory, output = step.mixture.tolist(), freeze(step.memory), freeze(step.output)

    def run(x, keys, values, bias, source_keys, source_values):
        mixed, bias = x * mixture[0], bias.squeeze(1)
        for index, ((query, cross_query, out, cross_out, fc1, fc2), norms) in enumerate(layers):
            context, _ = fused.attend(query(x), keys, values, bias)
            x = fused.normed(norms[0], out.add(context, x), True)
            cross = source_keys[index], source_values[index]
            context, _ = fused.attend(cross_query(x), *cross, None)
            x = fused.normed(norms[1], cross_out.add(context, x), True)
            x = fused.normed(norms[2], fc2.add(fc1(x), x), True)
            mixed.add_(x, alpha=mixture[index + 1])
        return fused.log_softmax_in_place(output(x)), memory(mixed)

    return run


def onnx_steps(step: PlainStep, inputs: Inputs, folder: Path, threads: int) -> dict[str, Step]:
    """The step in ONNX Runtime, in float and in eight bits.

    Raises:
        UserError: where a package is missing.
    """
    try:
        import onnx  # noqa: F401  (needed by the exporter)
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise UserError(f"ONNX Runtime is needed: pip install onnx onnxruntime ({error})") from None
    whole, rounded = folder / "step.onnx", folder / "step.int8.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter needs fewer packages than its successor
        torch.onnx.export(
            step,
            tuple(inputs),
            str(whole),
            input_names=list(Inputs._fields),
            output_names=["log_probs", "entries"],
            dynamic_axes=dict(zip(Inputs._fields, AXES, strict=True)),
            opset_version=17,
            dynamo=False,
        )
        logging.getLogger().disabled = True  # advice on how to prepare the model
        quantize_dynamic(whole, rounded, weight_type=QuantType.QInt8, per_channel=True)
        logging.getLogger().disabled = False
    widths = step.output.out_features, step.memory.out_features
    return {
        "ONNX Runtime": onnx_session(whole, widths, threads),
        "ONNX Runtime int8": onnx_session(rounded, widths, threads),
    }


def onnx_session(path: Path, widths: tuple[int, int], threads: int) -> Step:
    """A model of ONNX Runtime that reads and writes torch's memory."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()

    def run(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        for name, x in zip(Inputs._fields, inputs, strict=True):
            binding.bind_input(name, "cpu", 0, np.float32, tuple(x.shape), x.data_ptr())
        found = tuple(torch.empty(len(inputs[0]), width) for width in widths)
        for name, y in zip(("log_probs", "entries"), found, strict=True):
            binding.bind_output(name, "cpu", 0, np.float32, tuple(y.shape), y.data_ptr())
        session.run_with_iobinding(binding)
        return found[0], found[1]

    return run


def compiled(step: PlainStep, inputs: Inputs, folder: Path) -> Step:
    """The step compiled ahead by AOTInductor, which takes about a minute and a C++ compiler."""
    import torch._inductor

    automatic = torch.export.Dim.AUTO
    shapes = tuple(dict.fromkeys(axes, automatic) for axes in AXES)
    exported = torch.export.export(step, tuple(inputs), dynamic_shapes=shapes)
    with torch._inductor.config.patch(freezing=True):
        path = torch._inductor.aoti_compile_and_package(
            exported, package_path=str(folder / "step.pt2")
        )
    return torch._inductor.aoti_load_package(path)


def largest_error(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> float:
    """The largest difference of a log-probability."""
    return float((found[0] - wanted[0]).abs().max())
