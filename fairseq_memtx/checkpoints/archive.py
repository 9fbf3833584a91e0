"""The file of a checkpoint, looked at before torch reads it: whole, undamaged, and no larger
inside than outside.

torch writes an uncompressed zip archive, in which each part has a CRC-32 that torch itself does not
compare. Nothing here needs torch. A file is looked at once: afterwards its size and time tell.
"""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..ground.errors import UserError
from . import pickles

ZIP, LEGACY = b"PK\x03\x04", b"\x80\x02"
BLOCK = 1 << 20

#: Files found to be whole: device, inode, size and time of the last change.
_whole: set[tuple[int, int, int, int]] = set()


class Damaged(UserError):
    """A file that is no whole checkpoint, so that another one may take its place."""


def problem(path: str | os.PathLike[str]) -> str | None:
    """What keeps a file from being a whole checkpoint, as one line; None where nothing does."""
    try:
        with open_checkpoint(path) as stream:
            check(stream, path)
    except UserError as error:
        return str(error)
    return None


def open_checkpoint(path: str | os.PathLike[str]) -> BinaryIO:
    """Open the file, which must be a regular one that may be read.

    Raises:
        UserError: where it is not; the message says what to do.
    """
    if not os.path.exists(path):
        raise UserError(f"there is no checkpoint `{path}`: check the path")
    if not os.path.isfile(path):
        if os.path.isdir(path):
            raise UserError(f"`{path}` is a folder, not a checkpoint: name a file in it")
        raise UserError(f"`{path}` is not a regular file: name a checkpoint")
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"checkpoint `{path}` cannot be read: {error.strerror}") from error


def check(stream: BinaryIO, name: str | os.PathLike[str]) -> None:
    """Refuse an open file that is no whole checkpoint or tries to do harm.

    Args:
        stream: at its start, where it is left again.
        name: of the file, for messages.

    Raises:
        Damaged: where it is cut short, damaged, or another kind of file.
        UserError: where its contents would do anything but hold values.
    """
    status = os.fstat(stream.fileno())
    seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if seen not in _whole:
        start = stream.read(len(ZIP))
        stream.seek(0)
        if start == ZIP:
            _check_zip(stream, name, status.st_size)
        elif start.startswith(LEGACY):
            _check_legacy(stream, name)
        else:
            raise _no_checkpoint(name, status.st_size)
        _whole.add(seen)
        stream.seek(0)


def _no_checkpoint(name: str | os.PathLike[str], size: int) -> Damaged:
    return Damaged(
        f"`{name}` is no whole checkpoint: it is cut short, or another kind of file"
        f" ({size:,} bytes). Copy it again or use another one."
    )


def _check_zip(stream: BinaryIO, name: str | os.PathLike[str], size: int) -> None:
    try:
        archive = zipfile.ZipFile(stream)
        parts = archive.infolist()
        _check_parts(archive, parts, name, size)
        damaged = archive.testzip()
    except UserError:
        raise
    except Exception as error:  # zipfile and zlib have many, also for impossible offsets
        raise _no_checkpoint(name, size) from error
    if damaged is not None:
        raise Damaged(
            f"`{name}` is no whole checkpoint: its part `{_shown(damaged)}` does not have its"
            " checksum. Copy it again or use another one."
        )
    data = next(part for part in parts if part.filename.endswith("/data.pkl"))
    folder = data.filename.removesuffix("data.pkl")
    sizes = {part.filename.removeprefix(folder): part.file_size for part in parts}
    with archive.open(data) as pickled:
        _check_pickle(name, lambda: pickles.check(pickled.read(), sizes))


def _check_parts(
    archive: zipfile.ZipFile, parts: list[zipfile.ZipInfo], name: str | os.PathLike[str], size: int
) -> None:
    """The archive is such as torch writes: nothing is compressed, twice, or outside of it."""
    names = [part.filename for part in parts]
    if any("/constants.pkl" in part or "/code/" in part for part in names):
        raise UserError(
            f"`{name}` is a TorchScript program, not a checkpoint: use the file that fairseq-train"
            " saved"
        )
    if sum(part.endswith("/data.pkl") for part in names) != 1:
        raise Damaged(
            f"`{name}` is a zip archive, but not one of torch's: use the file that fairseq-train"
            " saved"
        )
    compressed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
    if compressed or sum(part.file_size for part in parts) > size:
        raise UserError(
            f"`{name}` is not as torch writes it: its parts are compressed or overlap, so that they"
            f" take more than the file's {size:,} bytes. Get the file from a source you trust."
        )
    first = min(part.header_offset for part in parts)
    if len(set(names)) < len(names) or archive.comment or first != 0:
        raise Damaged(
            f"`{name}` is not as torch writes it: it has parts of the same name, or more than the"
            " archive. Copy it again or use another one."
        )


def _check_legacy(stream: BinaryIO, name: str | os.PathLike[str]) -> None:
    """What torch < 1.6 wrote: pickles one after another, then the numbers, without checksums."""
    for _ in range(pickles.IN_A_LEGACY_FILE):
        _check_pickle(name, lambda: pickles.check(stream, None))


def _check_pickle(name: str | os.PathLike[str], check_it: Callable[[], None]) -> None:
    try:
        check_it()
    except pickles.Refused as error:
        raise UserError(
            f"`{name}` was not loaded: it {error}, which is not on the list of what is safe to"
            " load. No checkpoint of fairseq needs it: get the file from a source you trust."
        ) from error
    except Exception as error:  # cut short in a pickle, or no pickle
        raise _no_checkpoint(name, Path(name).stat().st_size) from error


def _shown(part: str) -> str:
    """The name of a part without the archive's own folder."""
    return part.partition("/")[2] or part
