"""Archives that claim what they do not hold are refused at once, whatever their headers say."""

import gzip
import io
import random
import tarfile
import time
from pathlib import Path

import pytest

from data_prep.extract import extract
from fairseq_memtx.ground.errors import UserError

WANTED = "a/w.en"


def plain(name: str, content: bytes = b"x\n", **headers: str) -> bytes:
    """One member with PAX headers of its own, as the bytes of a tar file."""
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = len(content), headers
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
        end = archive.offset
    return made.getvalue()[:end]


def member(info: tarfile.TarInfo, content: bytes = b"") -> bytes:
    body = content + b"\0" * (-len(content) % 512)
    return info.tobuf(tarfile.GNU_FORMAT) + body


def raw(kind: bytes, size: int, content: bytes = b"", name: str = "x", link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return member(info, content)


GOOD = raw(tarfile.REGTYPE, 2, b"x\n", WANTED)
END = b"\0" * 1024

LIARS = {
    "a member of 10^20 bytes": plain("a/fine", size=str(10**20)),
    "the wanted one of 10^20 bytes": plain(WANTED, size=str(10**20)),
    "a negative size": plain("a/fine", size="-5"),
    "a size in base 256": raw(tarfile.REGTYPE, 2**70, b"x"),
    "a long name of 2^60 bytes": raw(tarfile.GNUTYPE_LONGNAME, 2**60, b"name"),
    "PAX headers of 2^60 bytes": raw(tarfile.XHDTYPE, 2**60, b"11 size=3\n"),
    "a header of rubbish": b"rubbish " * 64,
    "global headers of 2^60 bytes": raw(tarfile.XGLTYPE, 2**60, b"11 size=3\n"),
    "a sparse member of 10^18 bytes": plain(
        "a/fine", **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                     "GNU.sparse.realsize": str(10**18), "GNU.sparse.name": "a/fine"}
    ),
    "an endless sparse map": plain(
        "a/fine", b"99999999999\n", **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    ),
    "a sparse map that is none": plain("a/fine", **{"GNU.sparse.map": "0,x,3"}),
    "an old sparse member": raw(tarfile.GNUTYPE_SPARSE, 4, b"x\n"),
    "five thousand headers in each other": raw(tarfile.XHDTYPE, 0) * 5000,
    "a device": raw(tarfile.CHRTYPE, 0),
    "a pipe": raw(tarfile.FIFOTYPE, 0),
    "an absolute name": raw(tarfile.REGTYPE, 0, name="/etc/passwd"),
    "a link outside": raw(tarfile.SYMTYPE, 0, link="../../etc/passwd"),
    "a wanted one that is a link": raw(tarfile.LNKTYPE, 0, name=WANTED, link="a/other"),
    "a wanted one twice": GOOD,
}  # fmt: skip


@pytest.mark.parametrize("what", LIARS)
@pytest.mark.parametrize("before", [False, True])
def test_liars_are_refused_at_once(what: str, before: bool, tmp_path: Path) -> None:
    path, out = tmp_path / "a.tgz", tmp_path / "out" / "w.en"
    parts = [LIARS[what], GOOD] if before else [GOOD, LIARS[what]]
    path.write_bytes(gzip.compress(b"".join(parts) + END * 10))
    started = time.monotonic()
    with pytest.raises(UserError) as raised:
        extract(path, {WANTED: out})
    assert time.monotonic() - started < 5
    told = str(raised.value)
    assert str(path) in told and "\n" not in told and len(told) < 600
    assert list(out.parent.iterdir()) == []


def test_a_whole_one_is_not(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tgz", tmp_path / "w.en"
    path.write_bytes(gzip.compress(plain("b" * 300) + GOOD + END))
    extract(path, {WANTED: out})
    assert out.read_bytes() == b"x\n"


def test_damage_anywhere_ends_in_one_line(tmp_path: Path) -> None:
    """Seeded: 400 archives with a few bytes changed before they are compressed."""
    draw = random.Random(4)
    whole = plain("b" * 300) + plain("c", comment="é") + GOOD + END
    path, out = tmp_path / "a.tgz", tmp_path / "out" / "w.en"
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(damaged))
            damaged[at] = draw.choice([0, 0xFF, 0x30, 0x39, draw.randrange(256)])
        if draw.random() < 0.2:
            del damaged[draw.randrange(len(damaged)) :]
        path.write_bytes(gzip.compress(bytes(damaged), 1))
        try:
            extract(path, {WANTED: out})
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
            assert not out.exists()
        else:
            out.unlink()
    assert refused > 40
