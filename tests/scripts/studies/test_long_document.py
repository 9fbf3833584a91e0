"""One long document: a short one, and its page."""

from pathlib import Path

import pytest

from scripts.shared.benchmark import read_records
from scripts.studies import long_document
from tests.checkout import CHECKOUT


@pytest.mark.slow
def test_what_is_held_does_not_grow(tmp_path: Path) -> None:
    words = ["--sentences", "60", "--words", "4", "--out", str(tmp_path)]
    assert long_document.main([*words, "--systems", "compressive,feedback"]) == 0
    records = read_records(tmp_path / "long.jsonl")
    assert [record["system"] for record in records] == ["compressive", "feedback"]
    for record in records:
        held = [part["bytes"] for part in record["parts"]]
        assert len(held) == 10 and held[0] < held[3]
        assert len(set(held[5:])) == 1
        assert all(part["seconds"] > 0 for part in record["parts"])
    page = (tmp_path / "long.md").read_text()
    assert "| feedback | memory, KiB |" in page and "| 1-6 |" in page


@pytest.mark.parametrize("folder", sorted((CHECKOUT / "results").glob("documents-long*")))
def test_the_published_page_is_made_of_its_records(folder: Path) -> None:
    found = read_records(folder / "long.jsonl")
    assert (folder / "long.md").read_text(encoding="utf-8") == long_document.table(found)
