"""Calls of the engine that make no sense, and some that do: none may crash.

``python -m tests.fairseq_memtx.native.fuzz SEED COUNT`` runs in a process of its own and prints how
many calls raised and how many did not. Every crash or hang would be one of the engine's.
"""

import sys
from random import Random
from typing import Any

import torch

import fairseq_memtx.models  # noqa: F401
from fairseq_memtx.decoding.search_options import Limits, SearchOptions
from fairseq_memtx.modules.rounding import round_model
from fairseq_memtx.native import library
from fairseq_memtx.native.weights import Writer
from tests.fairseq_memtx.tiny import build_model

MODELS: list[dict[str, Any]] = [
    {"model": "transformer"},
    {"model": "memtx_feedback", "memtx_relative_positions": 3, "memtx_memory_span": 4},
    {"model": "memtx_transformer_xl", "memtx_segment_len": 2, "memtx_mem_len": 3},
    {
        "model": "memtx_compressive",
        "memtx_segment_len": 2,
        "memtx_mem_len": 2,
        "memtx_compression_rate": 2,
    },
]
MODELS += [{**MODELS[-1], "memtx_compression": kind} for kind in ("dilated-conv", "most-used")]
NUMBERS = [-1, 0, 1, 2, 3, 5, 13, 64, 2**31 - 1, -(2**31), 0.5, float("nan"), float("inf"), 1e300]
WHOLE = [-1, 0, 1, 2, 3, 7, 12, 13, 40, 2**31 - 1, -(2**31)]


class Mangler(library.Parts):
    """Parts of which now and then one is changed, cut or left out."""

    def __init__(self, random: Random, *args: Any):
        super().__init__(*args)
        self._random, self._share = random, random.choice([0.0, 0.0, 0.01, 0.1])

    def _mangles(self) -> bool:
        return self._random.random() < self._share

    def number(self, name: str, value: float) -> None:
        if self._mangles():
            if self._random.random() < 0.3:
                return
            value = self._random.choice(NUMBERS)
        super().number(name, value)

    def floats(self, name: str, values: torch.Tensor) -> None:
        if self._mangles():
            values = values.flatten()[: self._random.randrange(1, values.numel() + 1)]
            values = values * self._random.choice([1.0, 0.0, float("nan"), 1e30])
        super().floats(name, values)

    def linear(self, name: str, weight: Any, scale: Any, bias: Any, as_rows: bool = False) -> None:
        if self._mangles():
            rows = self._random.randrange(0, len(weight) + 1)
            weight, bias = weight[:rows], None if bias is None else bias[:rows]
            scale = None if scale is None else scale[:rows]
            weight = weight[:, : self._random.randrange(0, weight.size(1) + 1)]
        super().linear(name, weight, scale, bias, as_rows or self._mangles())


def make(random: Random) -> library.NativeModel:
    """A model of parts that may be wrong."""
    settings = random.choice(MODELS)
    model = build_model(**settings, seed=random.randrange(9), max_target_positions=20).float()
    model = round_model(model) if random.random() < 0.5 else model
    parts = Mangler(random, *library.loaded())
    Writer(parts, random.random() < 0.15, carries=random.random() < 0.7).model(model.eval())
    return library.NativeModel(parts)


def memory(random: Random, sentences: int) -> library.NativeMemory | None:
    """What the sentences begin with, which may be wrong."""
    if random.random() < 0.2:
        return None
    wrong = random.random() < 0.3

    def size(*usual: int) -> int:
        return random.choice([0, 1, 2, 3, 8]) if wrong and random.random() < 0.2 else usual[0]

    def numbers(*shape: int) -> torch.Tensor:
        scale = random.choice([float("nan"), float("inf"), 1e30]) if random.random() < 0.03 else 1.0
        return scale * torch.randn(shape)

    def counts(most: int) -> torch.Tensor:
        highest = random.choice([-3, most + 2, 2**40]) if wrong and random.random() < 0.2 else most
        return torch.randint(min(0, highest), max(0, highest) + 1, (size(sentences),))

    kinds, dim, width = 2, size(8), random.choice([0, 1, 2, 3, 5, 40])
    older = random.choice([0, 1, 2, 9]) if random.random() < 0.4 else 0
    compressed = random.random() < 0.6 or older > 0
    return library.NativeMemory(
        numbers(size(kinds), size(sentences), width, dim),
        counts(width),
        numbers(size(kinds), size(sentences), older, dim) if compressed else None,
        counts(older) if compressed else None,
        numbers(size(kinds), size(sentences), size(width)) if random.random() < 0.3 else None,
    )


def request(random: Random, models: int) -> library.Request:
    """A batch and options that may be wrong."""
    wrong = random.random() < 0.5

    def rarely() -> bool:
        return random.random() < 0.05

    def whole(*usual: int) -> int:
        return random.choice(WHOLE) if wrong and random.random() < 0.2 else random.choice(usual)

    def words(*shape: int) -> torch.Tensor:
        lowest, highest = random.choice([(0, 14), (-2, 99)]) if rarely() else (4, 13)
        return torch.randint(lowest, highest, shape)

    number, length = 0 if rarely() else random.randrange(1, 4), whole(1, 2, 5) % 9
    options = SearchOptions(
        beam_size=whole(1, 2, 3, 5),
        max_len=whole(3, 6, 12),
        min_len=whole(0, 1),
        pad=whole(1),
        unk=whole(3),
        eos=whole(2),
        bos=whole(2, 0),
        unk_penalty=random.choice([float("inf"), float("nan")] if rarely() else [0.0, 1.0]),
        no_repeat_ngram_size=whole(0, 0, 2),
    )
    limits = Limits(
        words(number, whole(1, 2) % 5) if random.random() < 0.3 else None,
        torch.randint(0, 9, (number,)) if random.random() < 0.2 else None,
    )
    chosen = None
    if random.random() < 0.15:
        chosen = torch.arange(random.choice([13, 12, 5, 2, 0]))
        chosen = chosen.flip(0) if wrong and random.random() < 0.3 else chosen
    temperature = random.choice([0.0, -1.0, float("nan")] if rarely() else [1.0, 0.5])
    attention, threads = random.random() < 0.3, whole(1, 2, 5)
    memories = None
    if random.random() < 0.5:
        each = models + 1 if rarely() else models
        memories = [memory(random, number) for _ in range(each)]
    return library.Request(
        words(number, length), options, limits, chosen, temperature, attention, threads, memories
    )


def main(seed: int, count: int) -> None:
    """Run and report."""
    random, found, kept = Random(seed), {"raised": 0, "done": 0}, list[library.NativeModel]()
    torch.manual_seed(seed)
    for _ in range(count):
        try:
            if not kept or random.random() < 0.2:
                kept = [*kept[-3:], make(random)]
            models = random.choices(kept, k=random.choice([1, 1, 1, 2]))
            library.translate(models, request(random, len(models)))
            found["done"] += 1
        except (ValueError, FloatingPointError, MemoryError):
            found["raised"] += 1
    print(found)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
