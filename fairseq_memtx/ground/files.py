"""Files that appear whole or not at all, and their checksums."""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from .errors import UserError

TEMPORARY_SUFFIX = ".tmp"


def temporary_name(path: Path) -> Path:
    """The name under which ``path`` is written before it is renamed (same folder, so one disk)."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


@contextmanager
def atomic_writers(*paths: Path) -> Iterator[Sequence[BinaryIO]]:
    """Open temporary files for ``paths``; rename all when the block ends well, else remove all.

    A reader therefore never sees half a file under its final name, even after a kill: what is left
    then bears the temporary name and is overwritten by the next run.
    """
    temporary = [temporary_name(path) for path in paths]
    try:
        with ExitStack() as stack:
            files: list[BinaryIO] = []
            for path in temporary:
                path.parent.mkdir(parents=True, exist_ok=True)
                files.append(stack.enter_context(path.open("wb")))
            yield files
            for file in files:
                file.flush()
                os.fsync(file.fileno())
    except BaseException:
        for path in temporary:
            path.unlink(missing_ok=True)
        raise
    for written, final in zip(temporary, paths, strict=True):
        os.replace(written, final)


@contextmanager
def renamed_together(paths: Sequence[Path]) -> Iterator[Callable[[Path], Path]]:
    """For writers that open their own files: yields the function that gives each its name for now.

    All ``paths`` are renamed when the block ends well, else what was written is removed.
    """
    try:
        yield temporary_name
    except BaseException:
        for path in paths:
            temporary_name(path).unlink(missing_ok=True)
        raise
    for path in paths:
        os.replace(temporary_name(path), path)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` by way of a temporary name."""
    with atomic_writers(path) as (file,):
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON by way of a temporary name."""
    text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)
    write_bytes(path, (text + "\n").encode())


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
            f"`{path}` must be a whole gzip file, but is damaged or cut short ({error}): "
            "fetch or compress it again"
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"`{path}` must be a file, but does not exist") from error


def count_lines(path: Path) -> int:
    """The number of lines of a file, an unfinished last line included."""
    lines = 0
    last = b"\n"
    with open_bytes(path) as file:
        while chunk := file.read(1 << 20):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")
