"""What a pickle would do when it is read, found out without reading it.

torch's safe loading keeps to a list of classes, but calls each of them with whatever arguments the
file holds: `bytearray(10**11)` takes all memory, and the text of nested lists all time. Here the
instructions are followed on symbols: only what rebuilds tensors, arrays and settings may be called.
"""

import _compat_pickle
import pickletools
from collections.abc import Mapping
from typing import Any, BinaryIO

#: Instructions to follow, at about a million a second.
MOST_BYTES = 32 << 20
#: Nested tuples as a tree: hashing them walks it, whatever they share.
LARGEST_TUPLE = 100_000
IN_A_LEGACY_FILE = 5

#: What rebuilds the values in a checkpoint of fairseq's. Classes that were added to torch's list of
#: safe ones may be called too, but for Python's own.
CALLED = {
    "collections.OrderedDict",
    "collections.defaultdict",
    "builtins.set",
    "builtins.frozenset",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
      for name in ("_reconstruct", "scalar")),
    "numpy.dtype",
}  # fmt: skip

_ITEM_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1,
    "Byte": 1, "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8,
}  # fmt: skip
_PLAIN = {
    "NONE", "NEWFALSE", "NEWTRUE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "BINFLOAT",
    "SHORT_BINSTRING",
}  # fmt: skip
_CONSTANTS = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"}


class Refused(Exception):
    """What the pickle would do, as a half sentence."""


class _Global(str):
    """The full name of a class or function."""


class _Tuple(tuple):
    """A tuple of symbols; `weight` is its size as a tree."""

    weight: int

    def __new__(cls, items: Any) -> "_Tuple":
        made = super().__new__(cls, items)
        made.weight = 1 + sum(getattr(item, "weight", 1) for item in made)
        if made.weight > LARGEST_TUPLE:
            raise Refused("nests tuples without end")
        return made


def check(source: bytes | BinaryIO, parts: Mapping[str, int] | None) -> None:
    """Refuse a pickle that does more than hold values.

    Args:
        source: the pickle, or a file that is read to its end.
        parts: bytes of each part of the archive, by name, which the numbers of a tensor are; None
            in a legacy file, where torch compares them.

    Raises:
        Refused: the message says what it would do, as the half of a sentence that begins with "it".
        Exception: of many kinds, where it is no whole pickle.
    """
    if isinstance(source, bytes) and len(source) > MOST_BYTES:
        raise Refused(f"has {len(source):,} bytes of instructions")
    _Machine(parts).run(source)


class _Machine:
    """Follows the instructions of protocol 2 that torch knows."""

    def __init__(self, parts: Mapping[str, int] | None) -> None:
        self.parts = parts
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.called = CALLED | _added()

    def run(self, source: bytes | BinaryIO) -> None:
        """Follow the instructions of a pickle to its end, calling nothing.

        Raises:
            Refused: for an instruction that does more than rebuild values, or too many.
        """
        for operation, argument, position in pickletools.genops(source):
            if position is not None and position > MOST_BYTES and self.parts is None:
                raise Refused("has too many instructions")
            if operation.name == "STOP":
                return
            self.step(operation.name, argument)

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(argument)
        elif name in _PLAIN:
            stack.append(None)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "GLOBAL":
            stack.append(_full_name(argument))
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name.startswith(("TUPLE", "EMPTY_TUPLE")):
            self.make_tuple(name)
        elif name in ("APPEND", "SETITEM", "BUILD"):
            del stack[-2 if name == "SETITEM" else -1 :]
        elif name in ("APPENDS", "SETITEMS"):
            self.stack = self.marks.pop()
        elif name in ("REDUCE", "NEWOBJ"):
            self.call(stack.pop(), stack.pop())
        elif name == "BINPERSID":
            self.check_numbers(stack.pop())
            stack.append(None)
        elif name != "PROTO":
            raise Refused(f"holds the instruction {name}")

    def make_tuple(self, name: str) -> None:
        """Put a tuple in the place of its items."""
        if name == "TUPLE":
            items, self.stack = self.stack, self.marks.pop()
        else:
            count = 0 if name == "EMPTY_TUPLE" else int(name[-1])
            items = self.stack[len(self.stack) - count :]
            del self.stack[len(self.stack) - count :]
        self.stack.append(_Tuple(items))

    def call(self, arguments: Any, function: Any) -> None:
        """The result of a call, which must be one of those that rebuild values."""
        if not isinstance(function, _Global):
            raise Refused("holds an object of an unknown kind")
        if function not in self.called:
            raise Refused(f"holds `{function.removeprefix('builtins.')}`")
        latin = isinstance(arguments, tuple) and arguments[1:] == ("latin1",)
        if function == "_codecs.encode" and not latin:
            raise Refused("holds `_codecs.encode`")
        self.stack.append(None)

    def check_numbers(self, stored: Any) -> None:
        """Refuse numbers that the archive does not hold, or of another size than it says."""
        if self.parts is None:
            return
        try:
            _, kind, key, _, count = stored
            held = self.parts[f"data/{key}"]
        except (TypeError, ValueError, KeyError):
            raise Refused("names numbers that it does not hold") from None
        item = _ITEM_BYTES.get(str(kind).rpartition(".")[2].removesuffix("Storage"), 1)
        if not isinstance(count, int) or count * item != held:
            raise Refused("names more numbers than it holds")


def _full_name(argument: str) -> _Global:
    """The name that Python 3 has for what the instruction names."""
    module, _, name = argument.partition(" ")
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return _Global(f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}")


def _added() -> set[str]:
    """What was added to torch's list, but for types of Python and numpy, which are only named."""
    import torch

    added = torch.serialization.get_safe_globals()
    named = [f"{item.__module__}.{item.__qualname__}" for item in added if isinstance(item, type)]
    return {name for name in named if not name.startswith(("builtins.", "numpy.", "typing."))}
