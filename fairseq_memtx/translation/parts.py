"""What is searched for as one sentence, and batches of it.

Size legend: B sentences of a batch, T tokens of the longest prefix of their targets.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..ground.errors import UserError
from ..ground.workers import ordered_map, threaded_map

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Numbers(NamedTuple):
    """Subwords, and their numbers in a dictionary."""

    pieces: list[str]
    ids: list[int]


class Part(NamedTuple):
    """A line, or a part of one that is longer than the model takes.

    Attributes:
        line: its number, from 0.
        source: what is translated.
        prefix: what the translation begins with; None for anything.
        constraints: words that the translation must have.
    """

    line: int
    source: Numbers
    prefix: Numbers | None = None
    constraints: Sequence[Numbers] = ()


def numbers(pieces: Sequence[str], dictionary: Any) -> Numbers:
    """Subwords with their numbers in fairseq's dictionary."""
    return Numbers(list(pieces), [dictionary.index(piece) for piece in pieces])


def prefix_tokens(parts: Sequence[Part], pad: int) -> Tensor | None:
    """`(B, T)`: the prefixes of a batch, with padding behind; None where there are none."""
    longest = max((len(part.prefix.ids) for part in parts if part.prefix), default=0)
    if longest == 0:
        return None
    tokens = torch.full((len(parts), longest), pad)
    for row, part in zip(tokens, parts, strict=True):
        if part.prefix:
            row[: len(part.prefix.ids)] = torch.tensor(part.prefix.ids)
    return tokens


def moved(sample: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch with its tensors on the device."""
    return {
        name: moved(value, device)
        if isinstance(value, dict)
        else value.to(device)
        if isinstance(value, Tensor)
        else value
        for name, value in sample.items()
    }


def constraint_tokens(parts: Sequence[Part]) -> Tensor:
    """The constraints of a batch in fairseq's form."""
    from fairseq.token_generation_constraints import pack_constraints

    return pack_constraints([[torch.tensor(one.ids) for one in part.constraints] for part in parts])


@contextmanager
def constraints_explained(parts: Sequence[Part]) -> Iterator[None]:
    """Say of a constrained search what fairseq's assertion about its length means.

    Raises:
        UserError: where a translation as long as may be lacks some of its constraints.
    """
    try:
        yield
    except AssertionError as error:
        if not any(part.constraints for part in parts):
            raise
        lines = [part.line + 1 for part in parts]
        raise UserError(
            f"lines {min(lines)} to {max(lines)} have no translations with all of their constraints"
            " as short as they have to be: allow more with `max_len_a` and `max_len_b`"
        ) from error


def run_all(
    work: Callable[[Sequence[Item]], Result],
    batches: Sequence[Sequence[Item]],
    workers: int,
    at_once: int = 1,
) -> Iterator[Result]:
    """The results of all batches, in their order.

    With several workers, the last batch, which has the shortest sentences, is done here and first:
    that prepares the weights, which the workers then share and do not copy. Every process computes
    with one thread.

    Args:
        work: on a batch.
        batches: longest sentences first.
        workers: processes; 1 for this one.
        at_once: batches that threads of this process work on, where there are no others. Python's
            share of the work, which one thread does at a time, then hides behind the searches.
    """
    if workers == 1 and at_once > 1:
        yield from threaded_map(work, batches, at_once)
        return
    if workers == 1:
        yield from map(work, batches)
        return
    with _one_thread():
        last = [work(batch) for batch in batches[-1:]]
        yield from ordered_map(partial(_with_one_thread, work), batches[:-1], workers, True)
    yield from last


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with_one_thread(work: Result) -> Result:
    """What a worker calls before its first batch."""
    torch.set_num_threads(1)
    return work


@contextmanager
def drawn(seed: int, device: torch.device) -> Iterator[None]:
    """Let what is drawn depend on the seed alone, and the caller's random state be."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
