"""Files appear whole, over plain files only, and never through what somebody left in the way."""

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_memtx.ground import writing
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers, renamed_together, write_bytes
from fairseq_memtx.ground.writing import (
    check_output,
    claim_space,
    new_files,
    open_growing,
    temporary_name,
)
from tests.places_taken import contents, make_device


def make_disk(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(250, 250))
    except PermissionError:
        pytest.skip("only root may make device nodes")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's address is short
        try:
            one.bind(path.name)
        finally:
            os.chdir(before)


def make_link(path: Path) -> None:
    (path.parent / "precious").write_bytes(b"precious")
    path.symlink_to("precious")


def make_hard_link(path: Path) -> None:
    (path.parent / "precious").write_bytes(b"precious")
    path.hardlink_to(path.parent / "precious")


def test_without_locks_files_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "fcntl", None)
    path = tmp_path / "file"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    with writing.locked(tmp_path / "lock", "busy"), writing.locked(tmp_path / "lock", "busy") as it:
        writing.wait_for_lock(it)
    with atomic_writers(tmp_path / "a", tmp_path / "b") as (a, b):
        a.write(b"a"), b.write(b"b")
    held = {name: content for name, (_, content) in contents(tmp_path).items()}  # type: ignore[misc]
    assert held == {"file": b"two", "lock": b"", "a": b"a", "b": b"b"}


@pytest.mark.parametrize("size", [0, 5, (1 << 20) + 3])
def test_space_is_claimed_where_a_system_cannot_without_writing(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with new_files([tmp_path / "file"]) as (new,):
        claim_space(new.file, size)
    assert (tmp_path / "file").read_bytes() == bytes(size)


REFUSED: dict[str, Callable[[Path], None]] = {
    "is a folder": Path.mkdir,
    "is a link to `precious`": make_link,
    "is a link to `nowhere`": lambda path: path.symlink_to("nowhere"),
    "is a device or a socket": make_socket,
    "is a device or a socket ": make_disk,
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_is_no_plain_file_is_refused_before_and_while_writing(
    says: str, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    REFUSED[says](path)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=f"`--out {path}` {says.strip()}"):
        check_output(path, "--out")
    for write in (lambda: write_bytes(path, b"new"), lambda: open_growing(path).close()):
        with pytest.raises(UserError, match=says.strip()):
            write()
    with pytest.raises(UserError, match=says.strip()), renamed_together([path]):
        pass
    assert contents(tmp_path) == before


def test_what_stands_there_at_the_end_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(UserError, match="is a link"), atomic_writers(path) as (file,):
        file.write(b"new")
        make_link(path)
    assert path.is_symlink() and path.read_bytes() == b"precious"
    assert not temporary_name(path).exists()


def test_a_link_may_give_way_to_the_file_but_a_folder_does_not(tmp_path: Path) -> None:
    path, dangling, folder = tmp_path / "out", tmp_path / "dangling", tmp_path / "folder"
    make_link(path)
    dangling.symlink_to("nowhere")
    (tmp_path / "below").mkdir()
    folder.symlink_to("below")
    for link in (path, dangling):
        with new_files([link], replace_links=True) as (new,):
            new.file.write(b"new")
        assert link.read_bytes() == b"new" and not link.is_symlink()
    assert (tmp_path / "precious").read_bytes() == b"precious"
    with pytest.raises(UserError, match="is a link"), new_files([folder], replace_links=True):
        pass


def test_a_device_is_written_through(tmp_path: Path) -> None:
    path = tmp_path / "null"
    make_device(path)
    check_output(path)
    write_bytes(path, b"new")
    with renamed_together([path]) as named:
        assert named(path) == path
    assert stat.S_ISCHR(path.lstat().st_mode) and not temporary_name(path).exists()


@pytest.mark.parametrize("through_link", [False, True])
def test_a_pipe_is_written_through(through_link: bool, tmp_path: Path) -> None:
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if through_link:  # as /dev/stdout is one
        path = tmp_path / "link"
        path.symlink_to("pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_bytes(path, b"new")
    reader.join(10)
    assert found == [b"new"] and stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_link_to_a_plain_file_in_use_as_standard_output_is_kept(tmp_path: Path) -> None:
    link = tmp_path / "stdout"
    link.symlink_to(tmp_path / "redirected")
    (tmp_path / "redirected").touch()
    with pytest.raises(UserError, match="is a link"):
        write_bytes(link, b"new")
    assert link.is_symlink()


STALE: dict[str, Callable[[Path], None]] = {
    "file": lambda path: path.write_bytes(b"a longer half of an earlier run") and None,
    "link": make_link,
    "dangling": lambda path: path.symlink_to("nowhere"),
    "pipe": os.mkfifo,
    "socket": make_socket,
    "hard link": make_hard_link,
}


@pytest.mark.parametrize("kind", STALE)
def test_what_an_earlier_run_left_is_neither_followed_nor_waited_for(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "out"
    STALE[kind](temporary_name(path))
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new" and stat.S_ISREG(path.lstat().st_mode)
    assert not os.path.lexists(temporary_name(path)) and not (tmp_path / "nowhere").exists()
    if "link" in kind:
        assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_folder_under_the_temporary_name_is_told(tmp_path: Path) -> None:
    temporary_name(tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"`.*out\.tmp` is a folder, move it away"):
        write_bytes(tmp_path / "out", b"new")


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_writers(path) as (file,):
        file.write(b"first")
        with pytest.raises(UserError, match="is being written by another process"):
            write_bytes(path, b"second")
    assert path.read_bytes() == b"first"


def test_a_file_that_was_taken_away_is_told_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(UserError, match="another process"), atomic_writers(path) as (file,):
        file.write(b"first")
        temporary_name(path).unlink()
        temporary_name(path).write_bytes(b"of somebody else")
    assert not path.exists() and temporary_name(path).read_bytes() == b"of somebody else"


def test_inputs_and_impossible_places_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"read")
    (tmp_path / "other").hardlink_to(text)
    for same in (text, tmp_path / "." / "text", tmp_path / "other"):
        with pytest.raises(UserError, match=f"is the same file as `{text}`, which is read"):
            check_output(same, "--out", [text])
    check_output(tmp_path / "new", "--out", [text, tmp_path / "missing"])
    with pytest.raises(UserError, match=r"cannot be written: .* is a file, not a folder"):
        check_output(text / "below" / "out")
    with pytest.raises(UserError, match="holds a NUL"):
        check_output(tmp_path / "a\0b")


def test_all_appear_or_none_and_the_folder_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(writing, "sync_folder", synced.append)
    paths = [tmp_path / "a" / "one", tmp_path / "b" / "two"]
    with pytest.raises(RuntimeError), new_files(paths) as files:
        files[0].file.write(b"half")
        raise RuntimeError
    assert synced == [] and not [path for path in tmp_path.rglob("*") if path.is_file()]
    with new_files(paths):
        pass
    assert set(synced) == {tmp_path / "a", tmp_path / "b"}
    assert all(path.exists() for path in paths)


def test_a_lock_is_held_by_one_and_destroys_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"kept")
    with writing.locked(path, "busy"):
        with pytest.raises(UserError, match="busy"), writing.locked(path, "busy"):
            pass
        assert path.read_bytes() == b"kept"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a pipe or a device"):
        open_growing(tmp_path / "pipe")


@pytest.mark.parametrize("by_writing", [False, True])
@pytest.mark.parametrize("size", [1, 1000, 5 << 19])
def test_space_is_claimed_on_systems_that_cannot_without_writing_too(
    by_writing: bool, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_writing:
        monkeypatch.delattr(os, "posix_fallocate")
    with (tmp_path / "file").open("w+b") as file:
        claim_space(file, size)
    assert (tmp_path / "file").read_bytes() == bytes(size)
    assert (tmp_path / "file").stat().st_blocks * 512 >= size


def test_a_disk_without_room_is_told_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with Path("/dev/full").open("wb") as file, pytest.raises(OSError, match="No space left"):
        claim_space(file, 1 << 20)
