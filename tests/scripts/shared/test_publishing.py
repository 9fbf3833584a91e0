"""Nothing made by code that no commit has is published."""

import json
from pathlib import Path

import pytest

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of
from scripts.experiment.folders import Run
from scripts.shared import publishing
from scripts.shared.report import report
from tests.scripts.made_up import grid_record

DIRTY = {**grid_record(Run("feedback", 1, 1)), "dirty": True}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A published folder with one dirty record."""
    place = tmp_path / "results" / "made-up"
    (place / "records").mkdir(parents=True)
    (place / "records" / "feedback-d1-s1.json").write_text(json.dumps(DIRTY))
    monkeypatch.setattr(publishing, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(publishing, "ALLOWED", tmp_path / "allowed.txt")
    (tmp_path / "allowed.txt").write_text("# none\n")
    return place


def test_a_dirty_record_is_not_published(results: Path) -> None:
    with pytest.raises(UserError, match="of a checkout with changes and cannot be published"):
        report(results)
    assert not (results / "table.md").exists()


def test_what_was_published_before_stays(results: Path) -> None:
    publishing.ALLOWED.write_text(f"# then\n{hash_of(DIRTY)}  made-up\n")
    assert report(results)


def test_elsewhere_anything_goes(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "RESULTS", results / "elsewhere")
    assert report(results)


def test_a_changed_checkout_is_refused_before_it_measures(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "git_state", lambda: ("0" * 40, True))
    with pytest.raises(UserError, match=r"commit them, or choose another --results-dir"):
        publishing.check_checkout(results)
    publishing.check_checkout(results.parents[1] / "runs")
    monkeypatch.setattr(publishing, "git_state", lambda: ("0" * 40, False))
    publishing.check_checkout(results)


@pytest.mark.parametrize(
    ("record", "dirty"),
    [
        ({"dirty": True}, True),
        ({"commit": "0123+"}, True),
        ({"parts": [{"starts": [{"dirty": True}]}]}, True),
        ({"dirty": False, "commit": "0123", "text": "dirty"}, False),
    ],
)
def test_a_mark_is_found_wherever_it_is(record: dict, dirty: bool) -> None:
    assert publishing.is_dirty(record) is dirty


def test_all_that_is_published_is_clean_or_older_than_the_rule() -> None:
    allowed = publishing.allowed_hashes()
    files = sorted([*publishing.RESULTS.rglob("*.json"), *publishing.RESULTS.rglob("*.jsonl")])
    assert files
    for path in files:
        for record in publishing.read_any(path):
            assert not publishing.is_dirty(record) or hash_of(record) in allowed, path
