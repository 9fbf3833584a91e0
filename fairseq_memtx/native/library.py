"""The library's functions, with what they are given checked: a wrong call raises, never crashes.

Size legend: B sentences, S source positions, p words of a prefix, h hypotheses, N rows, I inputs, O
outputs, C model dimension, K kinds of entries, M recent entries, Z compressed states.
"""

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..decoding.search_options import Limits, SearchOptions
from . import build

#: Says which level of kernels to use, in place of the processor's best; for tests and comparisons.
LEVEL_VARIABLE = "MEMTX_NATIVE_LEVEL"

_int, _long, _float = ctypes.c_int32, ctypes.c_int64, ctypes.c_float
_pointer, _text = ctypes.c_void_p, ctypes.c_char_p

#: What an error's kind becomes.
ERRORS: dict[int, type[Exception]] = {1: ValueError, 2: MemoryError, 3: FloatingPointError}


class UnusableError(Exception):
    """There is no engine here; the message says why, in one line."""


class _Options(ctypes.Structure):
    _fields_ = [
        *((name, _int) for name in ("beam", "max_len", "min_len", "pad", "unk", "eos", "bos")),
        ("no_repeat_ngram_size", _int),
        *((name, _float) for name in ("unk_penalty", "temperature")),
        ("attention", _int),
    ]


class _Memory(ctypes.Structure):
    _fields_ = [
        *((name, _int) for name in ("kinds", "dim", "width", "compressed_width")),
        *((name, _pointer) for name in ("entries", "first", "received")),
        *((name, _pointer) for name in ("compressed", "compressed_first")),
    ]


class _Batch(ctypes.Structure):
    _fields_ = [
        *(("sentences", _int), ("width", _int), ("source", _pointer), ("prefix_width", _int)),
        *(("prefix", _pointer), ("exact_lengths", _pointer), ("longest", _pointer)),
        *(("num_words", _int), ("words", _pointer), ("memories", _pointer)),
    ]


class _Result(ctypes.Structure):
    _fields_ = [
        *(("hypotheses", _int), ("num_words", _long), ("num_probs", _long)),
        *((name, _pointer) for name in ("sentence", "length", "total", "words")),
        *((name, _pointer) for name in ("word_scores", "attention")),
        ("state_bytes", _long),
    ]


class NativeResult(NamedTuple):
    """All hypotheses of a batch, those of a sentence in the order in which they were found.

    Attributes:
        sentence: `(h,)` int32, number in the batch.
        length: `(h,)` int32, words of each.
        total: `(h,)`, sums of log-probabilities.
        words: of all hypotheses one after the other, int64.
        word_scores: log-probability of each.
        attention: of each hypothesis `(length, source words)`, one after the other; empty where
            it was not wanted.
        state_bytes: of memory for the keys and values of the targets' past.
    """

    sentence: np.ndarray
    length: np.ndarray
    total: np.ndarray
    words: np.ndarray
    word_scores: np.ndarray
    attention: np.ndarray
    state_bytes: int = 0


class Library:
    """A library that is loaded.

    Args:
        path: of the file.

    Attributes:
        levels: names of the processor's levels of kernels, best first.
    """

    def __init__(self, path: Path):
        self._calls = calls = ctypes.CDLL(str(path))
        calls.memtx_message.restype = calls.memtx_level.restype = _text
        calls.memtx_message.argtypes, calls.memtx_level.argtypes = [], [_int]
        calls.memtx_self_test.argtypes = [_text]
        calls.memtx_parts_new.argtypes = [_text, _pointer]
        calls.memtx_set_number.argtypes = [_pointer, _text, ctypes.c_double]
        calls.memtx_set_floats.argtypes = [_pointer, _text, _pointer, _long]
        calls.memtx_set_linear.argtypes = [_pointer, _text, _int, _int, *[_pointer] * 4, _int]
        calls.memtx_model_new.argtypes = [_pointer, _pointer]
        calls.memtx_translate.argtypes = [_pointer, _int, _pointer, _pointer, _int, _pointer]
        calls.memtx_int_products.argtypes = [_text, _int, _int, _pointer, _int, _pointer, _pointer]
        for name in ("parts", "model", "result"):
            free = getattr(calls, f"memtx_{name}_free")
            free.argtypes, free.restype = [_pointer], None
        self.levels = [name.decode() for name in iter(self._level_names().__next__, None)]

    def _level_names(self):
        number = 0
        while True:
            yield self._calls.memtx_level(number)
            number += 1

    def call(self, name: str, *args: Any) -> None:
        """Call `memtx_<name>`.

        Raises:
            ValueError: for what cannot be.
            MemoryError: where there is not enough.
            FloatingPointError: where the model's output is NaN.
            RuntimeError: for all else.
        """
        kind = getattr(self._calls, f"memtx_{name}")(*args)
        if kind != 0:
            message = self._calls.memtx_message().decode(errors="replace")
            raise ERRORS.get(kind, RuntimeError)(message)

    def free(self, name: str, handle: Any) -> None:
        """Call `memtx_<name>_free`."""
        getattr(self._calls, f"memtx_{name}_free")(handle)

    def int_products(self, level: str, weight: Tensor, x: Tensor) -> Tensor:
        """The integers `(N, O)` that a level makes of x `(N, I)`, rounded, and an int8 weight."""
        weight, x = checked(weight, torch.int8, 2), checked(x, torch.float32, 2)
        if weight.size(1) != x.size(1):
            raise ValueError("the weight has another number of inputs than x")
        found = torch.empty(len(x), len(weight), dtype=torch.int32)
        self.call(
            "int_products", level.encode(), *weight.shape, weight.data_ptr(), len(x),
            x.data_ptr(), found.data_ptr(),
        )  # fmt: skip
        return found


def checked(x: Any, dtype: torch.dtype, dims: int) -> Tensor:
    """x as the library wants it: on the CPU, its numbers in a row.

    Raises:
        ValueError: where it is no tensor of that kind.
    """
    if not isinstance(x, Tensor) or x.dtype != dtype or x.dim() != dims or x.device.type != "cpu":
        raise ValueError(f"an argument has to be a tensor of {dims} dimensions of {dtype} on a CPU")
    return x.detach().contiguous()


class Parts:
    """A model's parts on their way into the engine; see docs/engine.md for their names."""

    def __init__(self, library: Library, level: str):
        self.library, self.level, self.kept = library, level, list[Tensor]()
        self._handle = _pointer()
        library.call("parts_new", level.encode(), ctypes.byref(self._handle))

    def number(self, name: str, value: float) -> None:
        """Set a part that is one number."""
        self.library.call("set_number", self._handle, name.encode(), float(value))

    def floats(self, name: str, values: Tensor) -> None:
        """Set a vector, of any shape; it is kept, not copied."""
        values = checked(values.detach().flatten(), torch.float32, 1)
        self.kept.append(values)
        self.library.call(
            "set_floats", self._handle, name.encode(), values.data_ptr(), values.numel()
        )

    def linear(
        self,
        name: str,
        weight: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        as_rows: bool = False,
    ) -> None:
        """Set a linear map.

        Args:
            name: of it.
            weight: `(O, I)` in float32, or in int8 with
            scale: `(O,)`.
            bias: `(O,)` or None.
            as_rows: for shortlists; it is kept, not copied.
        """
        weight = checked(weight, torch.float32 if scale is None else torch.int8, 2)
        vectors = [None if x is None else checked(x, torch.float32, 1) for x in (scale, bias)]
        if any(x is not None and len(x) != len(weight) for x in vectors):
            raise ValueError(f"`{name}` has to have a scale and a bias for each of its outputs")
        if as_rows:
            self.kept += [weight, *(x for x in vectors if x is not None)]
        pointers = [None if x is None else x.data_ptr() for x in vectors]
        weights = [weight.data_ptr(), None] if scale is None else [None, weight.data_ptr()]
        self.library.call(
            "set_linear", self._handle, name.encode(), *weight.shape, *weights, *pointers, as_rows
        )

    def __del__(self):
        if self._handle:
            self.library.free("parts", self._handle)
            self._handle = _pointer()


class NativeModel:
    """A model in the engine.

    Args:
        parts: what it is made of; they are used up.

    Raises:
        ValueError: where they do not fit together.
    """

    def __init__(self, parts: Parts):
        self.library, self.level, self._kept = parts.library, parts.level, parts.kept
        self.handle = _pointer()
        self.library.call("model_new", parts._handle, ctypes.byref(self.handle))

    def __del__(self):
        if getattr(self, "handle", None):
            self.library.free("model", self.handle)
            self.handle = _pointer()


class NativeMemory(NamedTuple):
    """What the sentences of a batch begin with, for one model; a row's entries stand at its end.

    Attributes:
        first: `(K, B, M, C)`, oldest first: keys and values of each pair of the Feedback decoder,
            one kind after the other, or the inputs of each layer of the others.
        entries: `(B,)` int64, how many each sentence has.
        compressed_first: `(K, B, Z, C)`, states of each layer, or None.
        compressed: `(B,)` int64, how many each sentence has, or None.
        received: `(K, B, M)`, attention that the entries have received, or None.
    """

    first: Tensor
    entries: Tensor
    compressed_first: Tensor | None = None
    compressed: Tensor | None = None
    received: Tensor | None = None


class Request(NamedTuple):
    """What is asked of the engine for a batch.

    Attributes:
        source: `(B, S)` int64, padding anywhere.
        options: of the search; with `words`, its symbols are places in them.
        limits: on single sentences; with `words`, prefixes are places in them too.
        words: `(n,)` int64, rising, the words to choose from; None for all.
        temperature: that logits are divided by.
        attention: whether it is wanted.
        threads: at most.
        memories: that the sentences begin with, of each model, None where it has none; None where
            no model has any.
    """

    source: Tensor
    options: SearchOptions
    limits: Limits
    words: Tensor | None = None
    temperature: float = 1.0
    attention: bool = False
    threads: int = 1
    memories: Sequence[NativeMemory | None] | None = None


def translate(models: Sequence[NativeModel], request: Request) -> NativeResult:
    """All hypotheses of a batch; several models are an ensemble.

    Raises:
        ValueError, MemoryError, FloatingPointError, RuntimeError: see `Library.call`.
    """
    library, options = models[0].library, request.options
    batch, _kept = _batch(request, len(models))
    search = _Options(
        *(options.beam_size, options.max_len, options.min_len),
        *(options.pad, options.unk, options.eos, options.bos, options.no_repeat_ngram_size),
        *(options.unk_penalty, request.temperature, int(request.attention)),
    )
    handles = (_pointer * len(models))(*(model.handle for model in models))
    result = ctypes.POINTER(_Result)()
    library.call(
        "translate", handles, len(models), ctypes.byref(batch), ctypes.byref(search),
        request.threads, ctypes.byref(result),
    )  # fmt: skip
    try:
        return _found(result.contents)
    finally:
        library.free("result", result)


def _batch(request: Request, num_models: int) -> tuple[_Batch, list[Any]]:
    """It in the library's form, and what must live as long."""
    source = checked(request.source, torch.int64, 2)
    kept, pointers = list[Any]([source]), dict[str, int | None]()
    given = {
        "prefix": (request.limits.prefix, 2),
        "exact_lengths": (request.limits.exact_length, 1),
        "longest": (request.limits.longest, 1),
        "words": (request.words, 1),
    }
    for name, (tensor, dims) in given.items():
        pointers[name] = None
        if tensor is None:
            continue
        kept.append(checked(tensor, torch.int64, dims))
        if name != "words" and len(tensor) != len(source):
            raise ValueError(f"`{name}` has to have a row for each sentence")
        pointers[name] = kept[-1].data_ptr()
    prefix, words, memories = request.limits.prefix, request.words, None
    if request.memories is not None:
        if len(request.memories) != num_models:
            raise ValueError("each model has to have a memory, or None")
        each = [_memory(memory, len(source)) for memory in request.memories]
        memories = (_Memory * num_models)(*(memory for memory, _ in each))
        kept += [each, memories]
    return _Batch(
        *(*source.shape, source.data_ptr(), 0 if prefix is None else prefix.size(1)),
        *(pointers["prefix"], pointers["exact_lengths"], pointers["longest"]),
        *(0 if words is None else len(words), pointers["words"]),
        None if memories is None else ctypes.addressof(memories),
    ), kept


def _memory(memory: NativeMemory | None, sentences: int) -> tuple[_Memory, list[Tensor | None]]:
    """It in the library's form, and the tensors that must live as long.

    Raises:
        ValueError: where its tensors do not fit together.
    """
    if memory is None:
        return _Memory(), []
    first, entries = (
        checked(memory.first, torch.float32, 4),
        checked(memory.entries, torch.int64, 1),
    )
    older = _or_none(memory.compressed_first, torch.float32, 4)
    compressed = _or_none(memory.compressed, torch.int64, 1)
    received = _or_none(memory.received, torch.float32, 3)
    kinds, rows, width, dim = first.shape
    fit = rows == len(entries) == sentences and (older is None) == (compressed is None)
    fit &= received is None or received.shape == (kinds, rows, width)
    fit &= compressed is None or len(compressed) == rows
    fit &= older is None or (*older.shape[:2], older.size(3)) == (kinds, rows, dim)
    if not fit:
        raise ValueError("the parts of a memory have to be of the same sizes, those of the batch")
    given = (entries, first, received, compressed, older)
    return _Memory(
        *(kinds, dim, width, 0 if older is None else older.size(2)),
        *(None if x is None else x.data_ptr() for x in given),
    ), list(given)


def _or_none(x: Tensor | None, dtype: torch.dtype, dims: int) -> Tensor | None:
    """`checked`, where there is one."""
    return None if x is None else checked(x, dtype, dims)


def _found(result: _Result) -> NativeResult:
    hypotheses, words = result.hypotheses, result.num_words
    return NativeResult(
        _copied(result.sentence, hypotheses, torch.int32),
        _copied(result.length, hypotheses, torch.int32),
        _copied(result.total, hypotheses, torch.float32),
        _copied(result.words, words, torch.int64),
        _copied(result.word_scores, words, torch.float32),
        _copied(result.attention, result.num_probs, torch.float32),
        result.state_bytes,
    )


#: What is not there, made once.
NOTHING = {
    dtype: torch.empty(0, dtype=dtype).numpy()
    for dtype in (torch.int32, torch.int64, torch.float32)
}


def _copied(address: int | None, count: int, dtype: torch.dtype) -> np.ndarray:
    if count == 0:
        return NOTHING[dtype]
    made = torch.empty(count, dtype=dtype)  # whose address is found at once, unlike numpy's
    if address is not None:
        ctypes.memmove(made.data_ptr(), address, made.nbytes)
    return made.numpy()


def loaded() -> tuple[Library, str]:
    """The library of this process, and the level of kernels to use: the best that is right.

    Raises:
        UnusableError: where there is none; it is looked for once.
    """
    found = _load()
    if isinstance(found, str):
        raise UnusableError(found)
    return found


@cache
def _load() -> tuple[Library, str] | str:
    """The same, or why there is none."""
    try:
        library = Library(build.library())
    except (build.BuildError, OSError, AttributeError) as error:
        return str(error)
    wanted, reason = os.environ.get(LEVEL_VARIABLE, ""), "there is no level"
    if wanted and wanted not in library.levels:
        return f"${LEVEL_VARIABLE} is {wanted!r}: it has to be one of {', '.join(library.levels)}"
    for level in [wanted] if wanted else library.levels:
        try:
            library.call("self_test", level.encode())
            return library, level
        except RuntimeError as error:
            reason = str(error)
    return reason
