"""The one place in which files are opened for writing.

A file appears whole: it is written beside its final name, brought to the disk, renamed, and the
folder is brought to the disk too. What stands under a name already is replaced only where it is a
plain file. A pipe or a character device is written through; a link, a folder, a disk or a socket is
refused. What an earlier run left under the temporary name is never followed and never waited for.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from .errors import UserError

try:
    import fcntl
except ImportError:  # a system without such locks: see `try_lock`
    fcntl = None  # type: ignore[assignment]

TEMPORARY_SUFFIX = ".tmp"

#: Never through a link, and never waiting for the other end of a pipe.
_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def temporary_name(path: Path) -> Path:
    """The name under which `path` is written before it is renamed (same folder, so one disk)."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


def is_stream(path: Path) -> bool:
    """Whether `path` is a pipe or a character device, by way of links too (`/dev/stdout`)."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # missing, or no name at all
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def check_output(
    path: Path, flag: str = "", inputs: Iterable[Path] = (), replace_links: bool = False
) -> None:
    """Refuse what cannot be written, or would be lost by it, before the work.

    Args:
        path: the file that is to be written.
        flag: the option that named it, for the message.
        inputs: files that are read, of which it must be none.
        replace_links: a link to a file, or to nothing, may be replaced: not what it leads to.

    Raises:
        UserError: it is a folder, a link, a disk, a socket, or one of the inputs; or lies below
            something that is no folder, or in one that we may not write.
    """
    named = f"`{flag} {path}`" if flag else f"`{path}`"
    if "\0" in str(path):
        raise UserError(f"{named} holds a NUL, which no file's name may")
    if is_stream(path):
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        if not (replace_links and path.is_symlink() and not path.is_dir()):
            _check_kind(path, path.lstat().st_mode, named)
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise UserError(f"{named} is the same file as `{other}`, which is read: name another")
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise UserError(f"{named} cannot be written: `{folder}` is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{named} cannot be written: `{folder}` may not be changed by this user")


def _check_kind(path: Path, mode: int, named: str) -> None:
    if stat.S_ISLNK(mode):
        raise UserError(f"{named} is a link to `{os.readlink(path)}`: name the file itself")
    if stat.S_ISDIR(mode):
        raise UserError(f"{named} is a folder: name a file")
    if not stat.S_ISREG(mode):
        raise UserError(f"{named} is a device or a socket: name a file")


class NewFile:
    """A file that is being written and has its name only when `publish` is called.

    Args:
        path: its name in the end; folders above it are made.
        replace_links: see `check_output`.

    Attributes:
        path: the same.
        name: where its content is for now.
        file: open for writing bytes.

    Raises:
        UserError: see `check_output`; or another process is writing the same file.
    """

    def __init__(self, path: Path, replace_links: bool = False) -> None:
        check_output(path, replace_links=replace_links)
        self.path, self.is_stream = path, is_stream(path)
        self.replace_links = replace_links
        self.file: BinaryIO
        if self.is_stream:
            self.name, self.file = path, path.open("wb")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.name = temporary_name(path)
            self.file = _create(self.name, path)

    def sync(self) -> None:
        """Bring the content to the disk."""
        self.file.flush()
        if not self.is_stream:
            os.fsync(self.file.fileno())

    def publish(self) -> None:
        """Give it its name.

        Raises:
            UserError: something else stands under one of the names meanwhile.
        """
        if not self.is_stream:
            if not _is_named(self.file, self.name):
                raise _in_use(self.path)
            check_output(self.path, replace_links=self.replace_links)
            os.replace(self.name, self.path)

    def discard(self) -> None:
        """Remove it, if it has not got its name."""
        if not self.is_stream and _is_named(self.file, self.name):
            self.name.unlink()


@contextmanager
def new_files(paths: Iterable[Path], replace_links: bool = False) -> Iterator[list[NewFile]]:
    """Open new files; all get their names when the block ends well, else none is left.

    Raises:
        UserError: see `NewFile`.
    """
    files: list[NewFile] = []
    try:
        for path in paths:
            files.append(NewFile(path, replace_links))
        yield files
        for one in files:
            one.sync()
        for one in files:
            one.publish()
        for folder in {one.path.parent for one in files if not one.is_stream}:
            sync_folder(folder)
    finally:
        for one in files:
            one.discard()  # does nothing to those that have their names
            with suppress(OSError):  # a disk that is full was told of already
                one.file.close()


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


def _create(temporary: Path, path: Path) -> BinaryIO:
    """Make the temporary file of `path`, which must be nobody else's, and lock it."""
    while True:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _CAREFULLY
            descriptor = os.open(temporary, flags, 0o666)
        except FileExistsError:
            _remove_stale(temporary, path)
            continue
        file = os.fdopen(descriptor, "w+b")
        if try_lock(file) and _is_named(file, temporary):
            return file
        file.close()  # somebody took it for stale before the lock


def _remove_stale(temporary: Path, path: Path) -> None:
    """Remove what an earlier run, or somebody else, left under a temporary name.

    Raises:
        UserError: it is a folder, or another process is writing it.
    """
    with suppress(FileNotFoundError):
        mode = temporary.lstat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"`{path}` cannot be written: `{temporary}` is a folder, move it away")
        if not stat.S_ISREG(mode):
            temporary.unlink()  # of a link only the link, of a pipe only the name
            return
        with open(temporary, "rb", opener=lambda n, f: os.open(n, f | _CAREFULLY)) as file:
            if not try_lock(file):
                raise _in_use(path)
            if _is_named(file, temporary):
                temporary.unlink()


def _in_use(path: Path) -> UserError:
    return UserError(
        f"`{path}` is being written by another process: wait for it, or name another file"
    )


def _is_named(file: BinaryIO, name: Path) -> bool:
    """Whether an open file still stands under its name."""
    with suppress(OSError, ValueError):  # ValueError: closed meanwhile
        return os.path.samestat(os.fstat(file.fileno()), name.lstat())
    return False


def try_lock(file: BinaryIO) -> bool:
    """Lock an open file for this process; False where another process has it.

    A file system, or a system, without locks is taken for one that nobody shares.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    return True


def wait_for_lock(file: BinaryIO) -> None:
    """Lock an open file for this process, once no other has it; see `try_lock`."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)


def claim_space(file: BinaryIO, size: int) -> None:
    """Let an empty file have `size` bytes, all zero, for which the disk has room.

    A full disk is told here, by an `OSError`: written to through a map of memory, it would kill the
    process. Not every system can claim without writing (macOS cannot).
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    piece = bytes(min(size, 1 << 20))
    for start in range(0, size, len(piece) or 1):
        file.write(piece[: size - start])
    file.flush()


def open_growing(path: Path) -> BinaryIO:
    """Open a file that grows over several runs (a log, a lock, half a download) for reading and
    appending. Nothing of it is removed.

    Raises:
        UserError: what stands there is no plain file, or a link.
    """
    check_output(path)
    if is_stream(path):
        raise UserError(f"`{path}` is a pipe or a device: name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _CAREFULLY
    descriptor = os.open(path, flags, 0o666)
    return cast(BinaryIO, open(path, "a+b", opener=lambda *_: descriptor))


@contextmanager
def locked(path: Path, busy: str) -> Iterator[BinaryIO]:
    """Hold the lock file `path` for this process, and for children that inherit the file.

    Args:
        path: made where it is missing; it stays.
        busy: the message for whoever comes second.

    Raises:
        UserError: another process holds it.
    """
    with open_locked(path, busy) as file:
        yield file


def open_locked(path: Path, busy: str) -> BinaryIO:
    """Open a growing file that this process alone may write.

    Args:
        path: see `open_growing`.
        busy: the message where another process has it.

    Raises:
        UserError: another process has it.
    """
    while True:
        file = open_growing(path)
        if not try_lock(file):
            file.close()
            raise UserError(busy)
        if _is_named(file, path):
            return file
        file.close()  # it was renamed or removed before we had the lock


def publish_growing(path: Path, final: Path) -> None:
    """Give a file that has grown to its end its name.

    Raises:
        UserError: see `check_output`.
    """
    check_output(final)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(path, final)
    sync_folder(final.parent)
