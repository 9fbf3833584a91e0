import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairseq_memtx.ground import stamps as module
from fairseq_memtx.ground.files import atomic_writers, write_bytes
from fairseq_memtx.ground.stamps import Stamps


class Stage:
    """A stage that counts how often its work is done."""

    def __init__(self, out: Path) -> None:
        self.stamps = Stamps(out, stale=[out / "report"])
        self.output = out / "work" / "x"
        self.runs = 0

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        return self.stamps.run("stage", inputs, [self.output], self._work)

    def _work(self) -> dict[str, Any]:
        self.runs += 1
        write_bytes(self.output, b"hello")
        return {"count": self.runs}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_done_once_is_done(stage: Stage) -> None:
    assert stage(a=1, b=2)["result"] == stage(b=2, a=1)["result"] == {"count": 1}


def test_changed_inputs_are_done_again(stage: Stage) -> None:
    stage(a=1)
    assert stage(a=2)["result"] == {"count": 2}
    assert stage(a=2)["result"] == {"count": 2}


def shorten(path: Path) -> None:
    path.write_bytes(b"hell")


def alter(path: Path) -> None:
    status = path.stat()
    path.write_bytes(b"hellO")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # small files are hashed anyway


def alter_large(path: Path) -> None:
    path.write_bytes(b"hellO")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    ("damage", "always_hash"), [(Path.unlink, 9), (shorten, 9), (alter, 9), (alter_large, 0)]
)
def test_changed_outputs_are_done_again(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    always_hash: int,
) -> None:
    monkeypatch.setattr(module, "ALWAYS_HASH_BYTES", always_hash)
    stage(a=1)
    damage(stage.output)
    assert stage(a=1)["result"] == {"count": 2}
    assert stage.output.read_bytes() == b"hello"


def test_a_touched_output_is_not_done_again(stage: Stage) -> None:
    stage(a=1)
    os.utime(stage.output, ns=(1, 1))
    assert stage(a=1)["result"] == {"count": 1}


@pytest.mark.parametrize("content", [b"", b'{"inputs_hash": ', b"\xff"])
def test_a_damaged_stamp_counts_as_none(stage: Stage, tmp_path: Path, content: bytes) -> None:
    stage(a=1)
    (tmp_path / "stamps" / "stage.json").write_bytes(content)
    assert stage(a=1)["result"] == {"count": 2}


def test_a_starting_stage_takes_its_stamp_and_the_report_away(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(a=1)
    (tmp_path / "report").write_text("whole")

    def fail() -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "_work", fail)
    with pytest.raises(KeyboardInterrupt):
        stage(a=2)
    assert not (tmp_path / "report").exists()
    assert not (tmp_path / "stamps" / "stage.json").exists()


def test_facts_are_remembered_until_the_file_changes(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"a\nb\n")
    facts = stage.stamps.facts(path)
    assert facts["lines"] == 2
    with monkeypatch.context() as patched:
        patched.setattr(module, "count_lines", lambda path: pytest.fail("counted again"))
        assert stage.stamps.facts(path) == facts
    path.write_bytes(b"a\nb\nc\n")
    assert stage.stamps.facts(path)["lines"] == 3


def test_atomic_writers_leave_nothing_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_writers(tmp_path / "a", tmp_path / "b") as files:
        files[0].write(b"half")
        raise KeyboardInterrupt
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}
