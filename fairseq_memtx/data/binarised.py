"""Whether fairseq's binary files are whole: what can be told from the two files of a set alone.

The index has a head (magic, version, type of the numbers, count), then the length of each sentence
and where it begins. All of that can be computed from the lengths again, and so can the size of the
data file: damage to either is found, but for other numbers in the data.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..ground.errors import UserError

MAGIC = b"MMIDIDX\x00\x00"
HEAD = struct.Struct("<9sQBQ")  # magic, version, type, number of sentences
TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f8", 7: "<f8", 8: "<u2", 9: "<u4",
         10: "<u8"}  # fmt: skip


def check_pair(prefix: str) -> None:
    """Refuse an index and a data file that do not belong together.

    Args:
        prefix: the files' path without `.idx` and `.bin`.

    Raises:
        UserError: naming the file, where one is missing, cut, damaged or of another kind.
    """
    index, data = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    for path in (index, data):
        if not path.is_file():
            raise UserError(f"there is no file `{path}`: name a folder of binarised data")
    sizes, itemsize = _read_index(index)
    expected = int(sizes.sum(dtype=np.int64)) * itemsize
    found = data.stat().st_size
    if found != expected:
        raise _damaged(data, f"has {found} bytes instead of the {expected} that its index tells")


def _read_index(path: Path) -> tuple[np.ndarray, int]:
    """Length of each sentence, and the bytes of a number."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        raise _damaged(path, f"has only {len(head)} bytes, too few for an index of fairseq's")
    magic, version, code, count = HEAD.unpack(head)
    if magic != MAGIC or version != 1 or code not in TYPES:
        raise _damaged(path, "is not an index of fairseq's (mmap)")
    if size != HEAD.size + 12 * count:
        raise _damaged(path, f"has {size} bytes instead of {HEAD.size + 12 * count}")
    itemsize = np.dtype(TYPES[code]).itemsize
    if not count:
        return np.zeros(0, np.int32), itemsize
    sizes = np.memmap(path, "<i4", "r", HEAD.size, shape=(count,))
    starts = np.memmap(path, "<i8", "r", HEAD.size + 4 * count, shape=(count,))
    ends = np.cumsum(sizes, dtype=np.int64) * itemsize
    if sizes.min() < 0 or starts[0] != 0 or not np.array_equal(starts[1:], ends[:-1]):
        raise _damaged(path, "contradicts itself in where each sentence is")
    return np.asarray(sizes), itemsize


def check_numbers(prefix: str, num_words: int) -> None:
    """Refuse data with numbers that no word of the dictionary has. Reads all of it once.

    Args:
        prefix: the files' path without `.idx` and `.bin`, which `check_pair` has seen.
        num_words: of the dictionary.

    Raises:
        UserError: naming the file.
    """
    path = Path(f"{prefix}.bin")
    if not path.stat().st_size:
        return
    with Path(f"{prefix}.idx").open("rb") as file:
        code = HEAD.unpack(file.read(HEAD.size))[2]
    numbers = np.memmap(path, TYPES[code], "r")
    least, most = int(numbers.min()), int(numbers.max())
    if least < 0 or most >= num_words:
        wrong = least if least < 0 else most
        raise _damaged(
            path,
            f"holds the number {wrong}, which is no word of the dictionary (they are below"
            f" {num_words})",
        )


def _damaged(path: Path, rule: str) -> UserError:
    return UserError(f"`{path}` {rule}: copy it again, or prepare the data anew")


def check_parts(parts: Sequence[Path]) -> None:
    """Refuse data in parts (`a:b`) whose dictionaries are not those of the first part.

    Raises:
        UserError: naming the dictionary that differs.
    """
    if len(parts) < 2:
        return
    for first in sorted(parts[0].glob("dict*.txt")):
        for part in parts[1:]:
            other = part / first.name
            if other.exists() and other.read_bytes() != first.read_bytes():
                raise UserError(
                    f"`{other}` differs from `{first}`: prepare all parts of the data with one"
                    " dictionary"
                )
