"""Memory of systems that decode: what is held when one is loaded, how much more while it
translates, and what it keeps for each token.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Sequence

from scripts.shared import benchmark, measure
from scripts.shared import gpu as benchmark_gpu


def held_bytes(cuda: bool) -> int | None:
    """Memory of the process without what it has freed; on a GPU that of torch's tensors.

    None where it is not known: off Linux.
    """
    gc.collect()  # earlier models, which would be freed while the next is weighed
    if cuda:
        import torch

        return torch.cuda.memory_allocated()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        return benchmark.memory_line("VmRSS")
    except (OSError, AttributeError):
        return None


def growth(before: int | None, after: int | None) -> int | None:
    """From one to the other of `held_bytes`; None where that is not known."""
    return None if before is None or after is None else max(0, after - before)


def peak_bytes(system: measure.System, batches: Sequence[dict]) -> int | None:
    """By how much translating the largest of the batches raises `held_bytes`, for the first time:
    workspaces and recordings that are made by it and stay count.

    None where it is not known: on a GPU CTranslate2 has an allocator of its own.
    """
    largest = max(batches, key=lambda batch: batch["net_input"]["src_tokens"].numel())
    if system.cuda and system.generator is None:
        return None
    gc.collect()

    def step() -> None:
        system.translate(largest)

    return benchmark_gpu.peak_bytes(step) if system.cuda else benchmark.peak_bytes(step)


def weigh_state(system: measure.System) -> dict[str, float] | None:
    """See `measure.weigh_state`; for our generator of its own state; None where it is not known."""
    if system.generator is None:
        return None
    prepared = getattr(system.generator, "prepared", [])
    if not prepared or not prepared[0].can_fuse:
        return measure.weigh_state(system)
    return measure.weigh_state(system, fused_state_bytes)


def past_bytes(system: measure.System) -> int | None:
    """Of the native engine's memory for the keys and values of the targets' past, for the batch
    that was searched last; None where it did not search.
    """
    native = getattr(system.generator, "native", None)
    return getattr(native, "state_bytes", 0) or None


def fused_state_bytes(system: measure.System, batch: dict, steps: int) -> int:
    """Bytes of the state of our own search, one hypothesis, after ``steps`` positions."""
    import torch

    net_input = batch["net_input"]
    with torch.no_grad():
        encoded = system.model.encoder(net_input["src_tokens"], net_input["src_lengths"])
        masks = encoded["encoder_padding_mask"]
        search = (
            system.generator.prepared[0]
            .weights()
            .begin_search(encoded["encoder_out"][0], masks[0] if masks else None, 1)
        )
        first = net_input["src_tokens"].new_tensor([system.task.target_dictionary.eos()])
        for _ in range(steps):
            search.features(first)
    return search.size_bytes()
