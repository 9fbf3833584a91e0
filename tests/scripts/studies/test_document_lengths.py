"""The cost of a sentence deep in a document: a tiny run, and its page."""

from pathlib import Path

import pytest

from scripts.shared.benchmark import read_records
from scripts.studies import document_lengths


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    out = tmp_path_factory.mktemp("lengths")
    words = ["--before", "0,1,8,16", "--size", "tiny", "--out", str(out)]
    assert document_lengths.main(words) == 0
    page = (out / "lengths.md").read_text()
    assert "| concatenated | " in page and "8 before: words/s" in page
    return read_records(out / "lengths.jsonl")


@pytest.mark.slow
def test_what_is_carried_does_not_grow_and_what_is_concatenated_does(records: list[dict]) -> None:
    held = {record["system"]: [one["bytes"] for one in record["after"]] for record in records}
    for name in document_lengths.CARRIED:
        empty, one, eight, sixteen = held[name]
        # 1 sentence is carried whole; 8 are more than the memory holds
        assert empty < one < eight == sixteen
    empty, one, *_, sixteen = held[document_lengths.CONCATENATED]
    assert sixteen - empty == pytest.approx(16 * (one - empty), rel=0.01)


@pytest.mark.slow
def test_every_sentence_is_timed(records: list[dict]) -> None:
    for record in records:
        assert [one["before"] for one in record["after"]] == [0, 1, 8, 16]
        for one in record["after"]:
            assert len(one["seconds"]) == document_lengths.ROUNDS and min(one["seconds"]) > 0


def test_the_flags_are_whole_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        document_lengths.parse_args(["--before", "0,x"])
    assert "0,x is not such as 0,1,10" in capsys.readouterr().err
