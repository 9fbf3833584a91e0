"""Which commit a record is of, and whether it is of that commit alone."""

import subprocess
from pathlib import Path

import pytest

from scripts.shared import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("code.py", "results/study/record.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(provenance, "CHECKOUT", tmp_path)
    return tmp_path


def test_a_changed_file_is_told(checkout: Path) -> None:
    commit, dirty = provenance.git_state()
    assert len(commit) == 40 and not dirty
    (checkout / "code.py").write_text("2\n")
    assert provenance.git_state() == (commit, True)


def test_records_that_are_replaced_and_new_files_are_none(checkout: Path) -> None:
    before = provenance.git_state()
    (checkout / "results/study/record.json").write_text("2\n")
    (checkout / "results/study/another.json").write_text("2\n")
    (checkout / "notes").write_text("2\n")
    assert provenance.git_state() == before


def test_without_git_it_is_unknown(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert provenance.git_state() == ("unknown", False)
