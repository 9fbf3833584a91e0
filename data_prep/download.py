"""Fetching archives: from a local folder, or from one mirror after the other, resumed and verified.

A file that is being fetched is called ``NAME.part``; what an interruption leaves of it is carried
on by a range request. It gets its own name only after its size and checksum were found right.
"""

import gzip
import hashlib
import logging
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.writing import open_growing, publish_growing

from .manifest import MIRRORS, Archive

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20


class Failed(Exception):
    """A mirror did not give the file; the next attempt or mirror may."""


@dataclass(frozen=True)
class Source:
    """Where archives may come from.

    Args:
        folder: where downloads are kept.
        local_dir: a folder that may hold the archives already, by name or by manifest path.
        mirrors: addresses that the manifest's paths are appended to.
        attempts: tries of a mirror that bring no byte forward before it is given up.
        wait: seconds before the second try; twice as long before each further one.
        timeout: seconds without a byte after which a connection counts as broken.
    """

    folder: Path
    local_dir: Path | None = None
    mirrors: Sequence[str] = MIRRORS
    attempts: int = 3
    wait: float = 2.0
    timeout: float = 60.0


def fetch(archive: Archive, source: Source) -> Path:
    """The verified file of ``archive``, downloaded unless it is there already.

    Raises:
        UserError: a local file is not the right one, or no mirror gave the right one.
    """
    local = _find_local(archive, source.local_dir)
    if local is not None:
        _require_right(archive, local)
        return local
    path = source.folder / archive.name
    if path.exists():
        _require_right(archive, path)
        return path
    source.folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for mirror in source.mirrors:
        url = mirror.rstrip("/") + "/" + archive.path
        try:
            _fetch_from(url, archive, path, source)
            return path
        except Failed as failure:
            logger.warning("%s: %s", url, failure)
            failures.append(f"{url}: {failure}")
    raise UserError(
        f"no mirror gave `{archive.name}` ({'; '.join(failures)}): try again later (what has come"
        " is kept), or give a folder that holds it by `--local-dir`"
    )


def _find_local(archive: Archive, folder: Path | None) -> Path | None:
    if folder is None:
        return None
    if not folder.is_dir():
        raise UserError(
            f"`--local-dir {folder}` is not a folder: name the one that holds the files"
        )
    candidates = (folder / archive.name, folder / archive.path)
    return next((path for path in candidates if path.is_file()), None)


def _require_right(archive: Archive, path: Path) -> None:
    try:
        verify(archive, path)
    except Failed as failure:
        raise UserError(f"`{path}` {failure}: remove it, and it is fetched again") from failure


def verify(archive: Archive, path: Path) -> None:
    """Compare a file with the manifest, or with what its first download recorded.

    Raises:
        Failed: the size or the checksum is another.
    """
    size = path.stat().st_size
    if size != archive.size:
        raise Failed(f"has {size} bytes instead of {archive.size}")
    expected = archive.checksum or recorded_checksum(path)
    if expected is None:
        _read_through(path)
        return
    kind, _, digest = expected.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != digest:
        raise Failed(f"has the {kind.upper()} {found} instead of {digest}")


def record_path(path: Path) -> Path:
    """Where the checksum of a file is recorded if the manifest has none."""
    return path.with_name(path.name + ".sha256")


def recorded_checksum(path: Path) -> str | None:
    """What the first download of a file recorded beside it, or ``None``."""
    record = record_path(path)
    return f"sha256:{record.read_text().split()[0]}" if record.is_file() else None


def _read_through(path: Path) -> None:
    """Without a checksum, gzip's own at least shows damage."""
    try:
        with gzip.open(path) as file:
            while file.read(CHUNK_BYTES):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise Failed(f"is not a whole gzip file ({error})") from error


def _fetch_from(url: str, archive: Archive, path: Path, source: Source) -> None:
    """Fetch one archive from one mirror into ``path``, resuming until no progress is made."""
    part = path.with_name(path.name + ".part")
    idle, furthest = 0, _size(part)
    while _size(part) != archive.size:
        try:
            _receive(url, archive, part, source.timeout)
        except Failed as failure:
            idle = 0 if _size(part) > furthest else idle + 1
            furthest = max(furthest, _size(part))
            if idle >= source.attempts:
                raise
            logger.info("%s: %s; trying again from byte %d", archive.name, failure, _size(part))
            time.sleep(source.wait * 2 ** max(0, idle - 1))
    try:
        verify(archive, part)
    except Failed:
        part.unlink()  # nothing in it can be trusted
        raise
    if archive.checksum is None:
        _record(archive, part, path)
    publish_growing(part, path)


def _record(archive: Archive, part: Path, path: Path) -> None:
    """Record before renaming: a kill in between leaves but a record without a file."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_bytes(record_path(path), f"{digest}  {archive.name}\n".encode())
    logger.info("%s: SHA-256 %s recorded (the manifest has none)", archive.name, digest)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(url: str, archive: Archive, part: Path, timeout: float) -> None:
    """One request: append what the server sends from the end of ``part`` on."""
    start = _size(part)
    if start > archive.size:
        part.unlink()
        start = 0
    request = urllib.request.Request(url, headers={"User-Agent": "data_prep"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            if not _continues(response, start):
                start = 0
            _append(response, archive, part, start)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # our part is longer than the file there
            part.unlink(missing_ok=True)
        raise Failed(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise Failed(f"no connection ({error.reason})") from error
    except (HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise Failed(f"the connection broke ({error or type(error).__name__})") from error


def _continues(response: HTTPResponse, start: int) -> bool:
    """Whether the answer starts at byte ``start``; a server may ignore the range and send all."""
    if response.status != 206:
        return False
    sent = response.headers.get("Content-Range", "")
    if not sent.startswith(f"bytes {start}-"):
        raise Failed(f"the server sends another range than asked for ({sent or 'none named'})")
    return True


def _append(response: HTTPResponse, archive: Archive, part: Path, start: int) -> None:
    with (
        open_growing(part) as file,
        Progress(archive.name, archive.size, unit="B") as progress,
    ):
        file.truncate(start)
        progress.add(start)
        while chunk := response.read(CHUNK_BYTES):
            start += len(chunk)
            if start > archive.size:
                file.truncate(0)
                raise Failed(f"the server sends more than {archive.size} bytes")
            file.write(chunk)
            progress.add(len(chunk))
    if start < archive.size:
        raise Failed(f"the connection ended after {start} of {archive.size} bytes")
