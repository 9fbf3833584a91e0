"""The official route with small archives of the same make, from a server on this machine."""

import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from data_prep import wmt14
from data_prep.cli import main
from data_prep.manifest import MIRRORS, WMT14_EN_DE, Archive, Manifest
from tests.data_prep.texts import pairs


def sgm(text: list[tuple[str, str]], side: int) -> str:
    segments = [f'<seg id="{n}">{pair[side]}</seg>' for n, pair in enumerate(text, 1)]
    return '<set><doc docid="a">\n' + "\n".join(segments) + "\n</doc></set>\n"


def member_text(name: str) -> str:
    side = 0 if ".en" in name else 1
    if name.endswith(".sgm"):
        return sgm(pairs(12, 5 if "2013" in name else 6), side)
    return "".join(pair[side] + "\n" for pair in pairs(150, len(name)))


def build(archive: Archive, folder: Path) -> Archive:
    """Write an archive with made-up members; returns its entry with size and checksum."""
    path = folder / archive.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name in archive.members:
            content = member_text(name).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    content = path.read_bytes()
    known = archive.checksum and "sha256:" + hashlib.sha256(content).hexdigest()
    return Archive(archive.path, len(content), known, archive.members)


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the manifest's archives, and the manifest of them in place of the real one."""
    folder = tmp_path / "mirror"
    archives = tuple(build(archive, folder) for archive in WMT14_EN_DE.archives)
    train = dict.fromkeys(WMT14_EN_DE.train, 150)
    small = Manifest(archives, train, WMT14_EN_DE.valid, WMT14_EN_DE.test)
    monkeypatch.setattr(wmt14.fetch_corpora, "__defaults__", (small,))
    return folder


@pytest.fixture
def url(official: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    make = partial(Handler, directory=str(official))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def prepare(out: Path, *flags: str) -> int:
    return main(["wmt14", "--out", str(out), "--vocab-size", "120", "--workers", "1", *flags])


@pytest.mark.slow
def test_fetched_extracted_and_prepared(
    tmp_path: Path, url: str, official: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    assert prepare(out, "--mirror", url + "/gone", "--mirror", url) == 0
    report = json.loads((out / "prepared.json").read_bytes())
    assert [source["name"] for source in report["sources"]["train"]] == list(WMT14_EN_DE.train)
    assert report["pairs"]["valid"] == report["pairs"]["test"] == 12
    assert report["options"]["max_ratio"] == 1.5
    dev = hashlib.sha256((official / "wmt14" / "dev.tgz").read_bytes()).hexdigest()
    assert report["origin"]["archives"]["dev.tgz"] == f"sha256:{dev}"
    assert (out / "downloads" / "dev.tgz.sha256").read_text() == f"{dev}  dev.tgz\n"
    assert (out / "refs" / "test.de").read_text(encoding="utf-8") == "".join(
        target + "\n" for _, target in pairs(12, 6)
    )
    assert (out / "bin" / "test.docid").read_text() == "a\n" * 12
    for path in (out / "downloads").iterdir():
        path.unlink()
    assert prepare(out, "--mirror", url + "/gone") == 0, "an extracted archive is needed no more"


def test_a_local_folder_needs_no_network(tmp_path: Path, official: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    out = tmp_path / "out"
    assert prepare(out, "--local-dir", str(official), "--mirror", nowhere) == 0
    assert not (out / "downloads").exists()


def test_a_wrong_archive_stops_everything(
    tmp_path: Path, official: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = official / "wmt13" / "training-parallel-commoncrawl.tgz"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    out = tmp_path / "out"
    assert prepare(out, "--local-dir", str(official)) == 1
    assert "commoncrawl.tgz` has the SHA256" in caplog.text
    assert not (out / "work" / "official" / "commoncrawl.en").exists()
    assert not (out / "prepared.json").exists()


def test_other_line_counts_than_known_are_told(
    tmp_path: Path, official: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = wmt14.fetch_corpora.__defaults__[0]  # type: ignore[index]
    manifest.train["europarl-v7"] = 151
    assert prepare(tmp_path / "out", "--local-dir", str(official)) == 0
    assert "`europarl-v7` has 150 lines, not 151 as others counted" in caplog.text


def test_the_manifest_is_complete() -> None:
    kept = {name for archive in WMT14_EN_DE.archives for name in archive.members.values()}
    train = {f"{name}.{lang}" for name in WMT14_EN_DE.train for lang in ("en", "de")}
    assert kept == train | set(WMT14_EN_DE.valid[:2]) | set(WMT14_EN_DE.test[:2])
    assert sum(WMT14_EN_DE.train.values()) == 4_520_620
    assert len(MIRRORS) > 1 and all(mirror.endswith("/") for mirror in MIRRORS)
    for archive in WMT14_EN_DE.archives:
        if archive.checksum:
            kind, digest = archive.checksum.split(":")
            assert len(digest) == 2 * hashlib.new(kind).digest_size
