"""Safe extraction of the wanted members of a compressed tar file.

The archive is read as a stream, member by member. Only wanted regular files are written, under
names of ours; an archive with a member that means harm is refused as a whole.
"""

import gzip
import logging
import posixpath
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tarfile import InvalidHeaderError, ReadError  # type: ignore[attr-defined]
from typing import BinaryIO, Self

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import renamed_together
from fairseq_memtx.ground.progress import Progress

logger = logging.getLogger(__name__)

# Text compresses by a factor of 3 to 4; a bomb by hundreds.
MAX_EXPANSION = 20
ALWAYS_ALLOWED_BYTES = 64 << 20
MAX_MEMBERS = 100_000
CHUNK_BYTES = 1 << 20
# What tarfile lets through of headers that make no sense.
DAMAGE = (ValueError, OverflowError, RecursionError, LookupError, TypeError, AttributeError)
READS_AT_END = 100  # of a whole archive it is a handful


class StrictHeader(tarfile.TarInfo):
    """A member's header that makes sense, or an error.

    Beyond the first one tarfile takes a header that makes none for the end of the archive, and lets
    go of what comes after.
    """

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except InvalidHeaderError as error:
            raise ReadError(str(error)) from error


class BoundedReader:
    """A file that refuses to be read beyond ``limit`` bytes."""

    def __init__(self, file: BinaryIO, limit: int, name: str) -> None:
        self.file, self.left, self.name = file, limit, name
        self.reads_at_end = 0

    def read(self, size: int) -> bytes:
        """Read at most ``size`` bytes.

        Raises:
            UserError: the limit is passed, or the end has been read again and again: tarfile would
                look for what an archive claims to hold for ever.
        """
        content = self.file.read(size)
        self.reads_at_end += not content
        if self.reads_at_end > READS_AT_END:
            raise UserError(
                f"`{self.name}` ends before what its members claim to hold: fetch it again"
            )
        self.left -= len(content)
        if self.left < 0:
            raise UserError(
                f"`{self.name}` expands beyond what such an archive may hold: is it a bomb?"
            )
        return content


def extract(archive: Path, wanted: Mapping[str, Path], limit: int | None = None) -> None:
    """Write members of ``archive`` to the paths in ``wanted``; all appear or none.

    Args:
        archive: a gzip-compressed tar file.
        wanted: member name to path.
        limit: bytes that the archive may expand to; by default 20 times its size (at least 64 MiB).

    Raises:
        UserError: the archive is damaged, means harm, is too large, or lacks a wanted member.
    """
    size = archive.stat().st_size
    limit = limit or max(ALWAYS_ALLOWED_BYTES, MAX_EXPANSION * size)
    for path in wanted.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            renamed_together(list(wanted.values())) as name,
            archive.open("rb") as raw,
            gzip.open(raw) as file,
            Progress(f"extract {archive.name}", size, unit="B") as progress,
        ):
            bounded = BoundedReader(file, limit, str(archive))  # type: ignore[arg-type]
            temporary = {member: name(path) for member, path in wanted.items()}
            _write_wanted(bounded, archive, temporary, raw, progress, limit)
    except UserError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, *DAMAGE) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"`{archive}` is not a whole .tgz file ({reason}): fetch it again"
        ) from error


def _write_wanted(
    file: BoundedReader,
    archive: Path,
    wanted: Mapping[str, Path],
    raw: BinaryIO,
    progress: Progress,
    limit: int,
) -> None:
    missing = dict(wanted)
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=file, mode="r|", tarinfo=StrictHeader
    ) as tar:
        for number, member in enumerate(tar):
            if number >= MAX_MEMBERS:
                raise UserError(f"`{archive}` has more than {MAX_MEMBERS} members: refused")
            name = check_member(member, archive)
            check_size(member, archive, limit)
            if name in wanted:
                path = missing.pop(name, None)
                if path is None or not member.isreg():
                    raise UserError(
                        f"`{archive}` does not hold `{name}` exactly once, as a plain file"
                    )
                _copy(tar, member, path)
            progress.add(raw.tell() - progress.done)
    while file.read(CHUNK_BYTES):  # to the end, so that gzip's checksum is compared
        pass
    if missing:
        raise UserError(f"`{archive}` does not hold `{next(iter(missing))}`: fetch it again")


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # it is a regular file
    with path.open("wb") as out:
        while chunk := source.read(CHUNK_BYTES):
            out.write(chunk)


def check_size(member: tarfile.TarInfo, archive: Path, limit: int) -> None:
    """Refuse a member that claims more bytes than there can be, or to be full of holes.

    Raises:
        UserError: it does.
    """
    if not 0 <= member.size <= limit:
        raise UserError(
            f"`{member.name}` in `{archive}` claims {member.size} bytes, more than the {limit}"
            " allowed: refused"
        )
    if member.issparse():
        raise UserError(f"`{member.name}` in `{archive}` is a sparse file: refused")


def check_member(member: tarfile.TarInfo, archive: Path) -> str:
    """The normal form of a member's name.

    Raises:
        UserError: it could write, or point, outside of a folder; or is a device.
    """
    if _leaves(member.name):
        raise UserError(f"`{member.name}` in `{archive}` lies outside its folder: refused")
    if member.issym() or member.islnk():
        # A symbolic link counts from its own folder, a hard link from the top.
        folder = posixpath.dirname(member.name) if member.issym() else ""
        if _leaves(posixpath.join(folder, member.linkname)):
            raise UserError(
                f"`{member.name}` in `{archive}` is a link to `{member.linkname}`, outside its"
                " folder: refused"
            )
    elif not (member.isreg() or member.isdir()):
        raise UserError(f"`{member.name}` in `{archive}` is a device: refused")
    return posixpath.normpath(member.name)


def _leaves(name: str) -> bool:
    """Whether a path is absolute or climbs out of the folder it starts in."""
    normal = posixpath.normpath(name.replace("\\", "/"))
    return normal.startswith("/") or normal.split("/")[0] == ".." or normal[1:2] == ":"
