"""Random small Feedback stacks without fairseq, and the comparison of two engines on them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_memtx.engine import ENGINES, Engine, Recurrence, RecurrenceOutput
from fairseq_memtx.modules.carried_memory import CarriedMemory
from fairseq_memtx.modules.dropout import DropoutRates, draw_layer_masks
from fairseq_memtx.modules.layer import FeedbackLayer, LayerSizes
from fairseq_memtx.modules.memory import FeedbackMemory

ENCODER_DIM = 6


@dataclass(frozen=True)
class Case:
    """What a recurrence is made of; see `Recurrence` and `FeedbackMemory`.

    Attributes:
        padding: side on which targets are padded, "both" for one after the other, or None.
        source_lengths: of the sentences, or None for no padding; the batch has as many.
        dropped: layers left out.
        carried: memories before the target.
        anew: the second sentence reads none of them, the third not the oldest two.
    """

    layers: int = 2
    length: int = 5
    batch: int = 3
    pre_norm: bool = False
    cross: bool = True
    memory: dict[str, Any] = field(default_factory=dict)
    dropout: float = 0.0
    activation: Callable[[Tensor], Tensor] = F.relu
    padding: str | None = "right"
    source_padding: bool = True
    dropped: frozenset[int] = frozenset()
    probs_layer: int | None = 0
    dim: int = 8
    ffn_dim: int = 10
    heads: int = 2
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    carried: int = 0
    anew: bool = False


class Stack(nn.Module):
    """Layers and memory of a case, with weights away from their start, and its inputs."""

    def __init__(self, case: Case, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.case = case
        rates = DropoutRates(case.dropout, case.dropout, case.dropout)
        sizes = LayerSizes(
            case.dim, case.ffn_dim, case.heads, ENCODER_DIM if case.cross else None,
            case.pre_norm, rates, case.activation,
        )  # fmt: skip
        self.layers = nn.ModuleList(FeedbackLayer(sizes) for _ in range(case.layers))
        self.memory = FeedbackMemory(
            case.layers, case.dim, case.heads, normalize=case.pre_norm, **case.memory
        )
        self.inputs = nn.Parameter(torch.randn(case.length, case.batch, case.dim))
        self.encoder_out = nn.Parameter(torch.randn(4, case.batch, ENCODER_DIM))
        self.to(case.device, case.dtype)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        self.draw()

    def draw(self) -> None:
        """Draw the dropout masks and the carried memories."""
        case, (layer, *_) = self.case, self.layers
        self.masks = [
            draw_layer_masks(
                layer.sizes.dropout, self.inputs.detach(), case.heads, case.ffn_dim,
                4 if case.cross else 0, case.carried + case.length,
            )
            for _ in self.layers
        ] if case.dropout else []  # fmt: skip
        self.past = self._carried() if case.carried else None

    def recurrence(self) -> Recurrence:
        case = self.case
        sources = [
            layer.encoder_attn.read_source(self.encoder_out, self._source_padding())
            for layer in self.layers
            if layer.encoder_attn is not None
        ]
        return Recurrence(
            layers=[None if i in case.dropped else x for i, x in enumerate(self.layers)],
            memory=self.memory,
            inputs=self.inputs,
            sources=sources,
            padding_mask=self._padding(),
            masks=self.masks,
            probs_layer=case.probs_layer if case.cross else None,
            past=self.past,
        )

    def _carried(self) -> CarriedMemory:
        case = self.case
        # (G, B, H, P, D)
        shape = (len(self.memory.k_proj), case.batch, case.heads, case.carried)
        keys, values = torch.randn(2, *shape, case.dim // case.heads, dtype=case.dtype)
        mask = torch.zeros(case.batch, case.carried, dtype=torch.bool)
        mask[1:2], mask[2:3, :2] = True, True
        past = CarriedMemory(keys, values, mask if case.anew else None)
        return past._map(self._here, self._here)

    def _here(self, x: Tensor) -> Tensor:
        return x.to(self.inputs.device)

    def _padding(self) -> Tensor | None:
        case = self.case
        if case.padding is None:
            return None
        # the first sentence is whole, the others ever shorter
        lengths = [max(case.length - 2 * row, 1) for row in range(case.batch)]
        mask = torch.arange(case.length)[None] >= torch.tensor(lengths)[:, None]
        if case.padding == "both":
            mask[2::2] = mask[2::2].flip(1)
        return self._here(mask.flip(1) if case.padding == "left" else mask)

    def _source_padding(self) -> Tensor | None:
        if not self.case.source_padding:
            return None
        lengths = torch.arange(self.case.batch) % 4 + 1
        return self._here(torch.arange(4)[None] >= lengths[:, None])


def random_loss(out: RecurrenceOutput, seed: int = 1) -> Tensor:
    """A sum over all outputs with random weights: every entry has its own gradient."""
    generator = torch.Generator().manual_seed(seed)
    outputs = [*out.states, *([] if out.cross_probs is None else [out.cross_probs])]
    return torch.stack(
        [
            (x * torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)).sum()
            for x in outputs
        ]
    ).sum()


def gradients(loss: Tensor, stack: Stack) -> dict[str, Tensor]:
    """Of all parameters and inputs by name; none counts as zero."""
    names, leaves = zip(*stack.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for name, leaf, grad in zip(names, leaves, found, strict=True)
    }


def check_equal(
    case: Case, engine: Engine = ENGINES["manual"], rtol: float = 1e-9, atol: float = 1e-10
) -> None:
    """Values and all gradients of `engine` are those of the reference."""
    check_stack(Stack(case), engine, rtol, atol)


def check_stack(
    stack: Stack,
    engine: Engine,
    rtol: float = 1e-9,
    atol: float = 1e-10,
    change: Callable[[Recurrence], Recurrence] = lambda r: r,
) -> None:
    """The same for a stack whose recurrence is first changed."""
    outs = [run(change(stack.recurrence())) for run in (engine, ENGINES["reference"])]
    close = {"rtol": rtol, "atol": atol}
    for got, want in zip(outs[0].states, outs[1].states, strict=True):
        torch.testing.assert_close(got, want, **close)
    if outs[1].cross_probs is None:
        assert outs[0].cross_probs is None
    else:
        torch.testing.assert_close(outs[0].cross_probs, outs[1].cross_probs, **close)
    got, want = (gradients(random_loss(out), stack) for out in outs)
    for name, grad in want.items():
        torch.testing.assert_close(
            got[name], grad, msg=lambda text, name=name: f"{name}: {text}", **close
        )


def check_frozen(stack: Stack, engine: Engine, frozen: str) -> None:
    """Parameters with `frozen` in their name get no gradient, the others that of the reference."""
    want = gradients(random_loss(ENGINES["reference"](stack.recurrence())), stack)
    for name, parameter in stack.named_parameters():
        parameter.requires_grad_(frozen not in name)
    random_loss(engine(stack.recurrence())).backward()
    for name, parameter in stack.named_parameters():
        if frozen in name:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, want[name])
