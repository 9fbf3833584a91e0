"""State tracking: the commands, the stages, the page; training at a tiny size."""

import json
from pathlib import Path

import pytest

from scripts.studies import state_tracking
from scripts.studies.programs import configs, table

TINY = (
    *("--decoder-embed-dim", "8", "--decoder-input-dim", "8", "--decoder-output-dim", "8"),
    *("--decoder-ffn-embed-dim", "8", "--decoder-attention-heads", "2"),
    *("--memtx-cpu-math", "torch"),
)


def test_a_curriculum_ends_with_whole_programs(tmp_path: Path) -> None:
    for updates in (100, 10_000):
        args = state_tracking.parse_args(
            ["--recipes", "curriculum", "--max-update", str(updates), "--decoders", "feedback"]
        )
        training = state_tracking.trainings(args)[0]
        names = [folder.name for folder in training.data]
        assert names[:4] == [f"programs-{count}" for count in (4, 10, 30, 100)]
        assert set(names[4:]) <= {"programs-100"}
        # 4.2 words a statement or more: a pass over whole programs takes at least 4,000 updates.
        assert (len(names) - 3) * 4_000 >= updates
        told = training.told_command()[1]
        assert all(part.startswith("runs/state-tracking-3/programs-") for part in told.split(":"))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few short programs."""
    monkeypatch.setattr(configs, "WHOLE", configs.Stage(6, 60))
    short = {"plain": (), "curriculum": (configs.Stage(3, 20),)}
    monkeypatch.setattr(configs, "SHORT_FIRST", short)
    monkeypatch.setattr(configs, "STATEMENTS", 6)
    monkeypatch.setattr(configs, "HELD_OUT", (4, 60))
    monkeypatch.setattr(configs, "ROWS", 2)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", configs.RECIPES)
def test_all_decoders_are_trained_scored_and_reported(
    recipe: str, tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    size = ["--depths", "2", "--recipes", recipe, "--max-update", "5", *places]
    for _ in range(2):  # what is done is not done again
        assert state_tracking.main([*size, "--train-args", *TINY]) == 0
    logs = list((tmp_path / "runs").glob("*/*/train.log"))
    assert len(logs) == len(configs.SYSTEMS)
    assert all(log.read_text().count("num. shared model params") == 1 for log in logs)
    place = tmp_path / "results" / "state-tracking-3"
    records = [json.loads(path.read_bytes()) for path in place.glob("records/*.json")]
    assert {record["decoder"] for record in records} == set(configs.SYSTEMS)
    assert all(record["training"]["updates"] == 5 for record in records)
    assert len({sum(n for _, n in record["distances"].values()) for record in records}) == 1
    assert str(tmp_path) not in json.dumps(records)
    text = (place / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert {path.name for path in place.glob("*.png")} == {
        "accuracy_vs_depth.png", "accuracy_vs_distance.png",
    }  # fmt: skip


def a_record(decoder: str, depth: int, recipe: str, seed: int, right: int) -> dict:
    """A record as the study writes it."""
    return {
        "experiment": "state-tracking-3", "decoder": decoder, "sees": "something", "depth": depth,
        "recipe": recipe, "seed": seed, "variables": 3, "commit": "0123456789abcdef",
        "dirty": False, "versions": {"torch": "2"}, "hardware": {"cpu": "one"}, "threads": 1,
        "math": "float32", "data": {"sha256": "", "test": 10}, "parameters": 1234, "block": 64,
        "sizes": {"embed_dim": 64, "ffn_dim": 256, "heads": 4}, "rows": 32,
        "stages": [{"statements": 5, "programs": 7}, {"statements": 100, "programs": 9}],
        "training": {"updates": 4, "processor_seconds": 90.0},
        "distances": {"3": [right, 10], "8": [5, 10], "70": [1, 20]},
    }  # fmt: skip


def test_the_page_has_ours_beside_the_authors_and_marks_theirs() -> None:
    records = [a_record("feedback", 2, "curriculum", seed, 9 + seed) for seed in (1, 0)]
    records += [a_record("transformer", 1, "plain", 1, 3)]
    page, figures = table.pages(Path("records"), records)
    rows = [line for line in page.split("\n") if line.startswith("|")]
    assert rows[2].startswith("| transformer | 1 | no | 1 | 1,234 | 22.5 | 30.0 | 50.0 |")
    assert rows[3].startswith(
        "| feedback | 2 | yes | 2 | 1,234 | 38.8 (37.5-40.0) | 95.0 (90.0-100.0) | 50.0"
    )
    assert rows[4].startswith("| *the authors' Transformer* | 8 |  |  |  | *33.7* |")
    assert len({row.count("|") for row in rows}) == 1
    assert "7 programs of 5 statements, then programs of 100 statements (9)" in page
    for draw in figures.values():
        assert draw().axes


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--decoders", "parrot"], "`--decoders` has `parrot`"),
        (["--recipes", "boiled"], "`--recipes` has `boiled`"),
        (["--stages", "sleep"], "`--stages` has `sleep`"),
    ],
)
def test_user_errors_are_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert state_tracking.main(flags) == 1
    errors = [line for line in capsys.readouterr().err.split("\n") if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]


def test_scoring_needs_a_training(tiny: None, tmp_path: Path, capsys) -> None:
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    assert state_tracking.main(["--stages", "score", *places]) == 1
    assert "is not trained: run the stage `train` first" in capsys.readouterr().err
