"""Tables and plots come from records alone, byte for byte.

``golden/table.md`` was written by ``write_golden`` below from the made-up records:
``python -m tests.scripts.shared.test_report``.
"""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from scripts.experiment import course
from scripts.shared import tables
from scripts.shared.report import main, report
from tests.checkout import CHECKOUT
from tests.scripts.made_up import record, write_old

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden" / "table.md"
MADE = [
    record("transformer", 1, bleu=30.25),
    record("transformer", 2, bleu=31.0),
    record("feedback", 1, bleu=31.5),
    record("feedback", 2, bleu=32.75),
]


def write_golden() -> None:
    """Write the golden table anew, to be read before it is committed."""
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(tables.table(sorted_records()), encoding="utf-8")


def sorted_records() -> list[dict]:
    return sorted(MADE, key=lambda one: (one["decoder"], one["depth"]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for one in MADE:
        write_old(one, tmp_path / "made-up" / "records")
    return tmp_path / "made-up"


def test_golden_table(folder: Path) -> None:
    report(folder)
    assert (folder / "table.md").read_text(encoding="utf-8") == GOLDEN.read_text(encoding="utf-8")


def test_rates_are_medians_with_least_and_most() -> None:
    assert tables.words_per_second(record()["speed"][0]) == (100.0, 80.0, 125.0)


def test_seeds_are_told_only_where_there_are_several() -> None:
    one = tables.rows([record()])
    assert "seed" not in one[0]
    several = tables.rows([record(seed=1), record(seed=2)])
    assert several[0].startswith("| decoder | layers | seed | BLEU |")
    assert several[3].startswith("| feedback | 1 | 2 | 30.00 |")


def test_output_that_changed_between_repeats_is_marked() -> None:
    odd = record()
    odd["speed"][1]["identical_output"] = False
    page = tables.table([odd])
    assert "900 (720-1,125) *" in page
    assert "* The output differed between repeats." in page


def test_same_bytes_in_another_process(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for one in reversed(MADE):
        write_old(one, other / "records")
    written = report(folder)
    assert {path.name for path in written} == {
        "table.md",
        *("bleu_vs_speed.png", "bleu_vs_speed.svg"),
        *("training_curves.png", "training_curves.svg"),
    }
    command = [sys.executable, "-m", "scripts.shared.report", str(other)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    for path in written:
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_a_record_changes_the_plots(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in report(folder)}
    write_old(record("feedback", 1, bleu=25.0), folder / "records")
    after = {path.name: path.read_bytes() for path in report(folder)}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"table.md", "bleu_vs_speed.png", "bleu_vs_speed.svg"}


def test_a_folder_without_records_is_a_user_error(tmp_path: Path, capsys) -> None:
    assert main([str(tmp_path)]) == 1
    assert "holds no records" in capsys.readouterr().err


def published() -> list[Path]:
    return sorted(path.parent for path in (CHECKOUT / "results").glob("**/records"))


@pytest.mark.parametrize(
    "place", published(), ids=lambda place: str(place.relative_to(CHECKOUT / "results"))
)
def test_published_results_regenerate_from_their_records(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "records", tmp_path / "records")
    if (place / course.FILE).exists():
        shutil.copy(place / course.FILE, tmp_path)
    pinned = f"matplotlib=={metadata.version('matplotlib')}"
    pins = [path.read_text("utf-8") for path in (CHECKOUT / "requirements").glob("*.txt")]
    for path in report(tmp_path):
        if path.suffix == ".md" or any(pinned in text for text in pins):
            assert path.read_bytes() == (place / path.name).read_bytes(), path.name


def test_published_records_name_no_folder_of_a_machine() -> None:
    for place in published():
        for path in (place / "records").iterdir():
            text = path.read_text(encoding="utf-8")
            assert not [word for word in text.split() if word.strip('"').startswith("/")], path


if __name__ == "__main__":
    write_golden()
