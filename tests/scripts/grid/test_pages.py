"""The page and plots of an experiment of several seeds, recipes, widths and beams.

``golden/page.md`` was written by ``write_golden`` below from the made-up records:
``python -m tests.scripts.experiment.test_pages``.
"""

import copy
import json
from pathlib import Path

import pytest

from scripts.experiment import course
from scripts.experiment.folders import Run
from scripts.experiment.stages import records
from scripts.grid import findings, page
from scripts.grid.groups import Group, groups_of, has_stopped
from scripts.shared.report import report
from tests.scripts.made_up import course_record, grid_record

GOLDEN = Path(__file__).resolve().parent / "golden" / "page.md"


def against(baseline: str, difference: float, p_value: float) -> dict:
    return {"baseline": baseline, "difference": difference, "p_value": p_value}


MADE = [
    grid_record(Run("transformer", 1, 1), 30.0),
    grid_record(Run("transformer", 1, 2), 31.0),
    grid_record(Run("feedback", 1, 1), 31.5, against("transformer-d1-s1", 1.5, 0.001)),
    grid_record(Run("feedback", 1, 2), 31.1, against("transformer-d1-s2", 0.1, 0.4)),
    grid_record(Run("feedback", 2, 1), 32.0),
    grid_record(Run("feedback", 2, 1, recipe="curriculum"), 32.5),
    grid_record(Run("feedback", 4, 1, width=128), 29.0),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "made-up"
    for one in MADE:
        records.write(one, place / "records")
    (place / course.FILE).write_text(json.dumps(course_record()))
    return place


def write_golden() -> None:
    """Write the golden page anew, to be read before it is committed."""
    GOLDEN.parent.mkdir(exist_ok=True)
    ordered = sorted(MADE, key=records._place)
    GOLDEN.write_text(page.page(ordered, course_record()), encoding="utf-8")


def test_golden_page(folder: Path) -> None:
    written = {path.name for path in report(folder)}
    assert (folder / "table.md").read_text("utf-8") == GOLDEN.read_text("utf-8")
    plots = ("bleu_vs_speed", "training_curves", "curriculum")
    assert written == {"table.md", *(f"{plot}.{end}" for plot in plots for end in ("png", "svg"))}


@pytest.mark.slow
def test_without_a_curriculum_there_is_no_course(folder: Path) -> None:
    (folder / course.FILE).unlink()
    assert "curriculum.png" not in {path.name for path in report(folder)}
    assert "course" not in (folder / "table.md").read_text("utf-8")


def test_seeds_share_a_row_with_median_and_spread() -> None:
    (group,) = groups_of(MADE[:2])
    assert group.bleu(5) == (30.5, 30.0, 31.0)
    assert group.bleu(1) == (29.5, 29.0, 30.0)
    assert group.speed(5, 1) == (100.0, 80.0, 125.0)
    assert group.speed(1, 1) == (200.0, 160.0, 250.0)


def test_recipes_and_widths_have_rows_of_their_own() -> None:
    assert [len(group.records) for group in groups_of(MADE)] == [2, 2, 1, 1, 1]


@pytest.mark.parametrize(("patience", "since", "stopped"), [(3, 3, 1), (3, 2, 0), (0, 9, 0)])
def test_a_training_that_still_learnt_is_told(patience: int, since: int, stopped: int) -> None:
    assert has_stopped({"patience": patience, "validations_since_best": since}) == bool(stopped)


def test_a_difference_is_significant_seed_by_seed() -> None:
    told = findings.of_translation(groups_of(MADE[:4]), 5)
    assert "BLEU +0.10 to +1.50 (significant with 1 of 2 seeds)" in told
    assert "1.00 times its words/s (the ranges overlap) at batch 1" in told
    assert "2 of 4 trainings ended before their loss had stopped falling" in told


def test_narrow_and_deep_is_set_beside_wide_and_shallow() -> None:
    told = findings.of_translation(groups_of(MADE), 5)
    assert "`feedback`, 4 layers of 128 against 1 of 256: BLEU -2.30 (medians)" in told
    assert "`feedback`, 4 layers of 128 against 2 of 256: BLEU -3.00 (medians)" in told


def test_speeds_that_do_not_overlap_are_ratios_alone() -> None:
    fast = grid_record(Run("feedback", 1, 1))
    for speed in fast["decoding"][0]["speed"]:
        speed["words"] *= 3
    assert findings.faster(Group([fast]), Group(MADE[:1]), 5, 32) == "3.00 times its words/s"


def test_a_chosen_rate_at_the_edge_is_told() -> None:
    told = findings.of_search(groups_of(MADE[2:3]))
    assert "At the edge of what was tried: `feedback`, 1 layer of 256." in told


def test_the_course_tells_which_corpus_comes_first() -> None:
    told = course.sentences(course_record())
    assert "short, with 62% of the pairs" in told
    assert "100% of the pairs in the first tenth of its updates and 25% in the last" in told


def test_a_course_of_one_corpus_is_of_lengths_alone() -> None:
    one = course_record()
    for part in one["parts"]:
        part["pairs"], part["target_subwords"] = {"all": 5}, {"all": 9}
    assert "domains" not in course.sentences(one)


if __name__ == "__main__":
    write_golden()


def test_chrf_with_words_has_a_column_where_every_record_knows_it() -> None:
    made = copy.deepcopy(MADE)
    assert "chrF++" not in page.page(made)
    for record in made:
        for one in record["decoding"]:
            one["scores"]["chrf++"] = {"score": 44.25, "signature": "nw:2"}
    told = page.page(made)
    assert "| chrF | chrF++ | words/s, batch 1 |" in told
    assert "chrF++ `nw:2`" in told and "| 44.25 |" in told


def test_comet_has_a_column_where_it_was_asked_for() -> None:
    made = copy.deepcopy(MADE)
    for record in made:
        for one in record["decoding"]:
            one["scores"]["comet"] = {"score": 83.21, "signature": "model:m.ckpt"}
    told = page.page(made)
    assert "| chrF | COMET | words/s, batch 1 |" in told
    assert "COMET `model:m.ckpt`" in told and "| 83.21 |" in told
