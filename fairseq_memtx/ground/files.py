"""Files that appear whole or not at all, and their checksums."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from .errors import UserError
from .writing import new_files


@contextmanager
def atomic_writers(*paths: Path) -> Iterator[Sequence[BinaryIO]]:
    """Open new files for ``paths``; all appear when the block ends well, else none.

    A reader therefore never sees half a file under its final name, even after a kill: what is left
    then bears the temporary name and is overwritten by the next run.

    Raises:
        UserError: a path that is no plain file; see ``writing.NewFile``.
    """
    with new_files(paths) as files:
        yield [one.file for one in files]


@contextmanager
def renamed_together(paths: Sequence[Path]) -> Iterator[Callable[[Path], Path]]:
    """For writers that open their own files: yields the function that gives each its name for now.

    All ``paths`` are renamed when the block ends well, else what was written is removed.

    Raises:
        UserError: a path that is no plain file; see ``writing.NewFile``.
    """
    with new_files(paths) as files:
        names = {one.path: one.name for one in files}
        yield names.__getitem__


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` by way of a temporary name."""
    with atomic_writers(path) as (file,):
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON by way of a temporary name."""
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
    write_bytes(path, (text + "\n").encode())


@contextmanager
def in_one_line(path: Path, what: str) -> Iterator[None]:
    """Errors of any kind while ``path`` is read say that it must be ``what``."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"there is no file `{path}`: it has to be {what}") from None
    except Exception as error:  # fairseq, torch, json and sentencepiece each have many
        reason = str(error).strip().split("\n")[0]
        told = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        raise UserError(f"`{path}` cannot be read as {what}: {told}") from error


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A file that holds a JSON object.

    Args:
        path: the file.
        what: it must be, for the message.

    Raises:
        UserError: it is missing, no JSON, or JSON of another shape.
    """
    with in_one_line(path, what):
        try:
            found = json.loads(path.read_bytes())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"it is no UTF-8 at byte {error.start}") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise UserError(f"`{path}` is a {kind} in JSON, not an object: it has to be {what}")
    return found


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of(content: Any) -> str:
    """The SHA-256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a plain or gzip file for reading bytes.

    Raises:
        UserError: inside the ``with`` block too, when the compressed data is damaged.
    """
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            yield cast(BinaryIO, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"the gzip file `{path}` is damaged or cut short ({error}): fetch or compress it again"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"there is no file `{path}`: check the path") from error


def count_lines(path: Path) -> int:
    """The number of lines of a file, an unfinished last line included."""
    lines = 0
    last = b"\n"
    with open_bytes(path) as file:
        while chunk := file.read(1 << 20):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")
