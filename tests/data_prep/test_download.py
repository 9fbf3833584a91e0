"""Downloads from a server on this machine that behaves well, badly, or worse."""

import gzip
import hashlib
import logging
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_prep import download
from data_prep.download import Source, fetch, recorded_checksum
from data_prep.manifest import Archive
from fairseq_memtx.ground.errors import UserError

CONTENT = gzip.compress(random.Random(1).randbytes(60_000))
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
PATH = "wmt13/file.tgz"
ARCHIVE = Archive(PATH, len(CONTENT), SHA256, {})


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.content``, with the manners that the test sets on the server."""

    server: "Server"

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if self.path != f"/{PATH}" or self.server.status != 200:
            self.send_error(404 if self.server.status == 200 else self.server.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        content = self.server.content
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            wrong = 1 if self.server.wrong_range else 0
            self.send_header("Content-Range", f"bytes {start + wrong}-{len(content) - 1}/*")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: self.server.cut] if self.server.cut else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Good manners, until a test changes them."""

    content = CONTENT
    ranges = True
    wrong_range = False
    status = 200
    cut: int | None = None  # bytes after which each connection ends

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    running = [Server(), Server()]
    for server in running:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield running
    for server in running:
        server.shutdown()
        server.server_close()


def source(folder: Path, *servers: Server, local_dir: Path | None = None) -> Source:
    mirrors = [server.url for server in servers]
    return Source(folder / "downloads", local_dir, mirrors, attempts=2, wait=0.01, timeout=5)


def test_a_good_mirror(servers: list[Server], tmp_path: Path) -> None:
    path = fetch(ARCHIVE, source(tmp_path, servers[0]))
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["file.tgz"]
    fetch(ARCHIVE, source(tmp_path, servers[0]))
    assert servers[0].requests == [None], "a file that is there is not fetched again"


def test_an_interrupted_download_goes_on(servers: list[Server], tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "file.tgz.part").write_bytes(CONTENT[:1000])
    assert fetch(ARCHIVE, source(tmp_path, servers[0])).read_bytes() == CONTENT
    assert servers[0].requests == ["bytes=1000-"]


def test_a_complete_part_is_only_verified(servers: list[Server], tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "file.tgz.part").write_bytes(CONTENT)
    assert fetch(ARCHIVE, source(tmp_path, servers[0])).read_bytes() == CONTENT
    assert servers[0].requests == []


def test_a_server_without_ranges_starts_over(servers: list[Server], tmp_path: Path) -> None:
    servers[0].ranges = False
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "file.tgz.part").write_bytes(b"x" * 1000)
    assert fetch(ARCHIVE, source(tmp_path, servers[0])).read_bytes() == CONTENT


def test_connections_that_end_early_are_resumed(servers: list[Server], tmp_path: Path) -> None:
    servers[0].cut = 25_000
    assert fetch(ARCHIVE, source(tmp_path, servers[0])).read_bytes() == CONTENT
    assert servers[0].requests == [None, "bytes=25000-", "bytes=50000-"]


def test_a_server_that_never_gets_further_is_given_up(
    servers: list[Server], tmp_path: Path
) -> None:
    servers[0].cut, servers[0].ranges = 25_000, False
    with pytest.raises(UserError, match=r"25000 of .*what has come is kept"):
        fetch(ARCHIVE, source(tmp_path, servers[0]))
    assert (tmp_path / "downloads" / "file.tgz.part").stat().st_size == 25_000


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_the_next_mirror_is_tried(servers: list[Server], tmp_path: Path, status: int) -> None:
    servers[0].status = status
    assert fetch(ARCHIVE, source(tmp_path, *servers)).read_bytes() == CONTENT
    assert servers[1].requests == [None]


def test_a_mirror_that_is_down(servers: list[Server], tmp_path: Path) -> None:
    down = Source(tmp_path, None, ["http://127.0.0.1:9/", servers[0].url], attempts=1)
    assert fetch(ARCHIVE, down).read_bytes() == CONTENT


def test_what_one_mirror_began_another_finishes(servers: list[Server], tmp_path: Path) -> None:
    servers[0].cut, servers[0].wrong_range = 30_000, True
    assert fetch(ARCHIVE, source(tmp_path, *servers)).read_bytes() == CONTENT
    assert servers[1].requests == ["bytes=30000-"]


def test_a_wrong_checksum_leads_to_the_next_mirror(
    servers: list[Server], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers[0].content = CONTENT[:-1] + b"x"
    with caplog.at_level(logging.WARNING):
        assert fetch(ARCHIVE, source(tmp_path, *servers)).read_bytes() == CONTENT
    assert "has the SHA256" in caplog.text
    assert servers[1].requests == [None], "nothing of the wrong file is kept"


def test_wrong_everywhere_is_an_error(servers: list[Server], tmp_path: Path) -> None:
    for server in servers:
        server.content = CONTENT[:-1] + b"x"
    with pytest.raises(UserError, match=r"no mirror gave `file\.tgz` .* SHA256 .*--local-dir"):
        fetch(ARCHIVE, source(tmp_path, *servers))
    assert list((tmp_path / "downloads").iterdir()) == []


def test_more_than_announced_is_refused(servers: list[Server], tmp_path: Path) -> None:
    servers[0].content = CONTENT + b"more"
    with pytest.raises(UserError, match="sends more than"):
        fetch(ARCHIVE, source(tmp_path, servers[0]))


def test_a_range_beyond_the_end(servers: list[Server], tmp_path: Path) -> None:
    servers[0].content = CONTENT[:500]
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "file.tgz.part").write_bytes(CONTENT[:1000])
    with pytest.raises(UserError, match=r"416|500 of"):
        fetch(ARCHIVE, source(tmp_path, servers[0]))


def test_an_unknown_checksum_is_recorded_and_then_held_to(
    servers: list[Server], tmp_path: Path
) -> None:
    unknown = Archive(PATH, len(CONTENT), None, {})
    path = fetch(unknown, source(tmp_path, servers[0]))
    assert recorded_checksum(path) == SHA256
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(UserError, match=r"file\.tgz` has the SHA256"):
        fetch(unknown, source(tmp_path, servers[0]))


def test_an_unknown_file_must_at_least_be_whole(servers: list[Server], tmp_path: Path) -> None:
    damaged = CONTENT[:-5] + bytes([CONTENT[-5] ^ 1]) + CONTENT[-4:]
    servers[0].content = damaged
    with pytest.raises(UserError, match="is not a whole gzip file"):
        fetch(Archive(PATH, len(damaged), None, {}), source(tmp_path, servers[0]))


def test_other_kinds_of_checksums(servers: list[Server], tmp_path: Path) -> None:
    right = "md5:" + hashlib.md5(CONTENT).hexdigest()
    assert fetch(Archive(PATH, len(CONTENT), right, {}), source(tmp_path / "a", servers[0]))
    wrong = "md5:" + "0" * 32
    with pytest.raises(UserError, match="has the MD5"):
        fetch(Archive(PATH, len(CONTENT), wrong, {}), source(tmp_path / "b", servers[0]))


@pytest.mark.parametrize("name", ["file.tgz", PATH])
def test_a_local_folder_is_used_in_place(servers: list[Server], tmp_path: Path, name: str) -> None:
    local = tmp_path / "local"
    (local / name).parent.mkdir(parents=True)
    (local / name).write_bytes(CONTENT)
    assert fetch(ARCHIVE, source(tmp_path, servers[0], local_dir=local)) == local / name
    assert servers[0].requests == []


def test_a_wrong_local_file_is_told(servers: list[Server], tmp_path: Path) -> None:
    (tmp_path / "file.tgz").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=rf"file\.tgz` has \d+ bytes instead of {len(CONTENT)}"):
        fetch(ARCHIVE, source(tmp_path, servers[0], local_dir=tmp_path))


def test_what_is_not_in_the_local_folder_is_fetched(servers: list[Server], tmp_path: Path) -> None:
    path = fetch(ARCHIVE, source(tmp_path, servers[0], local_dir=tmp_path))
    assert path == tmp_path / "downloads" / "file.tgz"


def test_an_interruption_keeps_the_part(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK_BYTES", 10_000)
    real_add = download.Progress.add

    def interrupt(self: download.Progress, count: int) -> None:
        real_add(self, count)
        if self.done >= 30_000:
            raise KeyboardInterrupt

    monkeypatch.setattr(download.Progress, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(ARCHIVE, source(tmp_path, servers[0]))
    assert (tmp_path / "downloads" / "file.tgz.part").read_bytes() == CONTENT[:30_000]
