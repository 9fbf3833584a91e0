"""The ``sample`` command: the generator's corpus, prepared like any other."""

import json
from pathlib import Path

import pytest

from data_prep.cli import main


def prepare(out: Path, *flags: str) -> int:
    words = ["sample", "--out", str(out), "--documents", "60", "--vocab-size", "300"]
    return main([*words, "--workers", "1", *flags])


def test_documents_and_context_arrive_beside_the_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepare(tmp_path) == 0, caplog.text
    report = json.loads((tmp_path / "prepared.json").read_bytes())
    assert report["origin"]["sample"]["documents"] == 60
    for split, pairs in report["pairs"].items():
        docids = (tmp_path / "bin" / f"{split}.docid").read_text().split("\n")[:-1]
        assert len(docids) == pairs > 1
        assert len(set(docids)) < len(docids)
    context = (tmp_path / "refs" / "test.context").read_text().split("\n")[:-1]
    assert len(context) == report["pairs"]["test"] and set(context) <= {"0", "1"}


def test_too_few_documents_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert prepare(tmp_path, "--documents", "1") == 1
    assert "it has to be at least" in caplog.text
