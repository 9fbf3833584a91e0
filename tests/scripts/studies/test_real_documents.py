"""A comparison on documents: a tiny run from a model of sentences, and its page."""

from pathlib import Path

import pytest

from scripts.shared.benchmark import read_records
from scripts.studies import real_documents
from tests.checkout import CHECKOUT
from tests.checkpoints import write_checkpoint


@pytest.mark.slow
def test_a_model_of_sentences_goes_on_with_documents(prepared_sample: Path, tmp_path: Path) -> None:
    start = write_checkpoint(prepared_sample / "bin", tmp_path / "start.pt", "transformer", 1)
    words = ["--data", str(prepared_sample), "--start", str(start), "--name", "tiny"]
    words += ["--updates", "3", "--max-tokens", "400", "--documents", "3", "--beam", "1"]
    words += ["--unroll", "2", "--cpu-math", "torch"]
    words += ["--runs-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert real_documents.main(words) == 0
    records = read_records(tmp_path / "out" / "documents.jsonl")
    assert [record["system"] for record in records] == ["start", "sentences", "documents"]
    assert list(records[2]["contexts"]) == ["all", "0"]
    assert 1 <= records[1]["test"]["documents"] <= 3
    page = (tmp_path / "out" / "documents.md").read_text()
    assert "| documents | all |" in page and "| start | 0 |" in page
    assert "--memtx-unroll 2" in records[2]["training"]["command"]
    assert real_documents.main(words) == 0  # what is done is not done again
    again = read_records(tmp_path / "out" / "documents.jsonl")
    assert again[2]["training"] == records[2]["training"]


def test_a_start_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        real_documents.parse_args([])
    assert "required: --start" in capsys.readouterr().err


@pytest.mark.parametrize("page", sorted((CHECKOUT / "results").glob("documents-*/documents.md")))
def test_the_published_page_is_made_of_its_records(page: Path) -> None:
    found = read_records(page.with_suffix(".jsonl"))
    assert page.read_text(encoding="utf-8") == real_documents.table(found)
