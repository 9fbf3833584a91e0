"""Calls of the engine with too little memory, which must raise and leave everything usable.

``python -m tests.fairseq_memtx.native.starved`` runs in a process of its own, with more memory at
each call than at the one before, so that it ends at another place each time. It prints how many
calls raised and how many did not.
"""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fairseq_memtx.models  # noqa: F401
from fairseq_memtx.decoding.search_options import Limits, SearchOptions
from fairseq_memtx.native import library
from fairseq_memtx.native.weights import Writer
from tests.fairseq_memtx.tiny import build_model

STEP, STEPS = 160 << 10, 56  # bytes of address space; the last calls have all that they need


class Recorder(library.Parts):
    """Parts that can be handed over again, without PyTorch, which would need memory too."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def number(self, name: str, value: float) -> None:
        self.calls.append(("number", (name, value)))

    def floats(self, name: str, values: torch.Tensor) -> None:
        self.calls.append(("floats", (name, values.detach())))

    def linear(self, *args: Any, as_rows: bool = False) -> None:
        self.calls.append(("linear", (*args, as_rows)))


@contextmanager
def address_space(more: int) -> Iterator[None]:
    """No more than so many bytes beside what is taken."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def starved(call: Callable[[], Any]) -> dict[str, int]:
    """What became of calls with more and more memory."""
    found = {"raised": 0, "done": 0}
    for step in range(STEPS):
        try:
            with address_space(step * STEP):
                call()
            found["done"] += 1
        except MemoryError:
            found["raised"] += 1
    return found


def main() -> None:
    """Run and report."""
    loaded = library.loaded()
    sizes = {"decoder_embed_dim": 256, "decoder_ffn_embed_dim": 512, "max_target_positions": 256}
    recorder = Recorder(*loaded)
    Writer(recorder, by_rows=False).model(build_model(**sizes).float())

    def make() -> library.NativeModel:
        parts = library.Parts(*loaded)
        for name, args in recorder.calls:
            getattr(parts, name)(*args)
        return library.NativeModel(parts)

    options = SearchOptions(beam_size=5, max_len=40, min_len=40, pad=1, unk=3, eos=2, bos=2)
    request = library.Request(
        torch.randint(4, 13, (6, 9)), options, Limits(), attention=True, threads=3
    )
    wanted = library.translate([make()], request)
    model = make()  # without the room that a call leaves for the next

    def translate() -> None:
        library.translate([model], request)

    print("making", starved(make))
    print("translating", starved(translate))
    after = library.translate([model], request)
    pairs = zip(wanted, after._replace(state_bytes=wanted.state_bytes), strict=True)
    same = all(np.array_equal(a, b) for a, b in pairs)
    print("afterwards", "the same" if same else "other results")


if __name__ == "__main__":
    main()
