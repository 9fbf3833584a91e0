import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep import extract as module
from data_prep.extract import extract
from fairseq_memtx.ground.errors import UserError


def member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


GOOD = (member("training/a.en"), b"hello\n")


def test_wanted_members_are_written_and_no_others(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.tgz",
        (member("training", tarfile.DIRTYPE), b""),
        (member("./training/b.fr"), b"non\n"),
        (member("./training/a.en"), b"hello\n"),
        (member("training/link", tarfile.SYMTYPE, "../training/a.en"), b""),
    )
    extract(path, {"training/a.en": tmp_path / "out" / "x.en"})
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x.en"]
    assert (tmp_path / "out" / "x.en").read_bytes() == b"hello\n"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("/etc/passwd"), "lies outside its folder"),
        (member("../escape"), "lies outside its folder"),
        (member("a/../../escape"), "lies outside its folder"),
        (member("..\\escape"), "lies outside its folder"),
        (member("C:\\escape"), "lies outside its folder"),
        (member("a/link", tarfile.SYMTYPE, "/etc/passwd"), "is a link to .* outside"),
        (member("a/link", tarfile.SYMTYPE, "../../etc"), "is a link to .* outside"),
        (member("a/link", tarfile.LNKTYPE, "../etc"), "is a link to .* outside"),
        (member("tty", tarfile.CHRTYPE), "is a device"),
        (member("disk", tarfile.BLKTYPE), "is a device"),
        (member("pipe", tarfile.FIFOTYPE), "is a device"),
    ],
)
def test_harmful_members_are_refused(tmp_path: Path, bad: tarfile.TarInfo, message: str) -> None:
    path = archive(tmp_path / "a.tgz", GOOD, (bad, b""))
    with pytest.raises(UserError, match=message):
        extract(path, {"training/a.en": tmp_path / "out" / "x.en"})
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wanted_link_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", GOOD, (member("b", tarfile.SYMTYPE, "training/a.en"), b""))
    with pytest.raises(UserError, match="`b` exactly once, as a plain file"):
        extract(path, {"b": tmp_path / "x"})


def test_a_wanted_member_must_come_once(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", GOOD, (member("training/a.en"), b"other\n"))
    with pytest.raises(UserError, match="once"):
        extract(path, {"training/a.en": tmp_path / "x"})
    assert not (tmp_path / "x").exists()


def test_a_missing_member_is_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", GOOD)
    wanted = {"training/a.en": tmp_path / "x.en", "training/a.de": tmp_path / "x.de"}
    with pytest.raises(UserError, match=r"does not hold `training/a\.de`"):
        extract(path, wanted)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tgz"]


def test_a_bomb_is_stopped(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", (member("bomb"), bytes(3_000_000)), GOOD)
    with pytest.raises(UserError, match="bomb"):
        extract(path, {"training/a.en": tmp_path / "x"}, limit=1_000_000)
    with pytest.raises(UserError, match="bomb"):
        extract(path, {"bomb": tmp_path / "x"}, limit=1_000_000)
    assert not (tmp_path / "x").exists()
    extract(path, {"training/a.en": tmp_path / "x"}, limit=4_000_000)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    path = archive(tmp_path / "a.tgz", *((member(f"m{i}"), b"") for i in range(4)), GOOD)
    with pytest.raises(UserError, match="more than 3 members"):
        extract(path, {"training/a.en": tmp_path / "x"})


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_checksum(content: bytes) -> bytes:
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


def not_gzip(content: bytes) -> bytes:
    return b"<html>not found</html>"


def not_tar(content: bytes) -> bytes:
    return gzip.compress(b"hello" * 1000)


@pytest.mark.parametrize("damage", [truncate, flip_checksum, not_gzip, not_tar])
def test_damage_is_told(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = archive(tmp_path / "a.tgz", GOOD, (member("big"), bytes(range(256)) * 500))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"a\.tgz` is not a whole \.tgz file"):
        extract(path, {"training/a.en": tmp_path / "x"})
    assert not (tmp_path / "x").exists()
