"""A recorder for the CPU, as close to a CUDA graph as can be: operations on fixed tensors.

The Python code runs once, while it is recorded. A replay does its operations again on the very same
tensors, so that whatever the code decided by looking at the first data would show on the next. What
a graph could not hold is refused, and what it must not rely on is destroyed: uninitialised memory,
and all that is left of other runs.
"""

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose answer goes to the host, or whose result has a size that depends on the data,
# or that draw random numbers, or that copy from the host.
REFUSED = {
    "_local_scalar_dense", "is_nonzero", "item", "equal", "nonzero", "masked_select", "unique",
    "_unique2", "unique_consecutive", "repeat_interleave.Tensor", "bincount", "lift_fresh",
    "bernoulli_", "normal_", "uniform_", "random_", "rand", "randn", "native_dropout", "pin_memory",
}  # fmt: skip
UNINITIALISED = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"}


def spoil(x: Tensor) -> None:
    """Fill with what a wrong read would show."""
    if x.is_floating_point():
        x.fill_(float("nan"))


def tensors(value: Any) -> list[Tensor]:
    """All tensors among an operation's arguments or results."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [x for part in value for x in tensors(part)]
    return tensors(list(value.values())) if isinstance(value, dict) else []


def storages(value: Any) -> set[int]:
    """The memory under all of them."""
    return {x.untyped_storage()._cdata for x in tensors(value)}


class Operation:
    """One operation with its tensors."""

    def __init__(self, function: Any, args: tuple, kwargs: dict, out: Any):
        self.function, self.args, self.kwargs = function, args, kwargs
        self.name = function._schema.name.removeprefix("aten::")
        self.changes = function._schema.is_mutable
        known = storages((args, kwargs))
        self.fresh = [x for x in tensors(out) if not storages(x) & known]

    def replay(self) -> None:
        if self.name in UNINITIALISED:
            for x in self.fresh:
                spoil(x)
        elif self.changes:
            self.function(*self.args, **self.kwargs)
        elif self.fresh:  # else a view
            found = self.function(*self.args, **self.kwargs)
            for x, new in zip(self.fresh, tensors(found), strict=True):
                x.copy_(new)


class Operations(TorchDispatchMode):
    """Notes all operations."""

    def __init__(self):
        super().__init__()
        self.all: list[Operation] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).removeprefix("aten.")
        assert not {name, name.partition(".")[0]} & REFUSED, f"{func} cannot be recorded"
        out = func(*args, **(kwargs or {}))
        self.all.append(Operation(func, args, kwargs or {}, out))
        return out


class OperationRecorder:
    """See `recording.Recorder`.

    Attributes:
        rehearsals, recordings, replays: how often each was asked for.
        room: the answer to whether there is any.
    """

    def __init__(self):
        self.room = True
        self.rehearsals = self.recordings = self.replays = 0
        self._last: tuple[object, list[Operation]] = (None, [])

    def rehearse(self, work: Callable[[], object]) -> None:
        self.rehearsals += 1
        work()

    def has_room(self) -> bool:
        return self.room

    def record(self, work: Callable[[], object]) -> Callable[[], None]:
        self.recordings += 1
        operations = Operations()
        with operations:
            work()
        # A capture does nothing yet: no result may be taken from it.
        for operation in operations.all:
            for x in operation.fresh:
                spoil(x)
        owner = weakref.ref(work.__self__)  # the run whose forward or backward this is

        def replay() -> None:
            self.replays += 1
            self._destroy_what_others_left(owner, operations.all)
            for operation in operations.all:
                operation.replay()

        return replay

    def _destroy_what_others_left(self, owner: object, operations: list[Operation]) -> None:
        last_owner, left = self._last
        if last_owner is owner:
            self._last = owner, left + operations
            return
        for operation in left:
            for x in operation.fresh:
                spoil(x)
        self._last = owner, operations
