"""The study of the maze: a run at a tiny size, and the page."""

import json
from pathlib import Path

import pytest

from scripts.studies import maze
from scripts.studies.mazes import table
from scripts.studies.mazes.configs import MEMORIES, Setting

TINY = Setting(
    size=3, moves=24, episodes=3, save_every=2, evaluated=5, dim=8, ffn_dim=8, updates=3
)  # fmt: skip


def test_all_memories_are_trained_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(maze, "SETTING", TINY)
    runs, place = tmp_path / "runs", tmp_path / "results" / "maze"
    flags = ["--seeds", "1,2", "--updates", "3", "--runs-dir", str(runs)]
    flags += ["--results-dir", str(place.parent)]
    assert maze.main([*flags, "--stages", "train"]) == 0
    assert not place.exists()
    files = list((runs / "maze").glob("*/checkpoint.pt"))
    assert len(files) == 2 * len(MEMORIES)
    written = {path: path.stat().st_mtime_ns for path in files}
    assert maze.main(flags) == 0  # what is trained is not trained again
    assert written == {path: path.stat().st_mtime_ns for path in files}
    records = [json.loads(path.read_bytes()) for path in place.glob("records/*.json")]
    assert {(r["memory"], r["seed"]) for r in records} == {(m, s) for m in MEMORIES for s in (1, 2)}
    for record in records:
        assert record["training"]["moves"] == 3 * 3 * 24
        assert len(record["training"]["rewards"]) == 3
        assert record["command"].startswith("python -m scripts.studies.maze --seeds 1,2")
        assert record["command"].endswith("--stages train")
        assert record["versions"]["torch"] and len(record["commit"]) == 40
        by_part = record["evaluation"]["by_part"]
        assert sum(by_part) * 24 / len(by_part) == pytest.approx(
            record["evaluation"]["reward"], abs=0.01
        )
    assert len({json.dumps(record["bounds"]) for record in records}) == 1
    text = (place / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert {path.name for path in place.glob("reward.*")} == {"reward.png", "reward.svg"}


def a_record(memory: str, seed: int, reward: float) -> dict:
    """A record as the study writes it."""
    return {
        "experiment": "maze", "memory": memory, "decoder": memory, "sees": f"what {memory} does",
        "seed": seed, "commit": "0123456789abcdef", "dirty": False, "versions": {"torch": "2"},
        "hardware": {"cpu": "one"}, "threads": 1, "parameters": 1234,
        "setting": vars(Setting()),
        "training": {
            "updates": 4, "moves": 4000, "rewards": [0.0, 1.0, 2.0, 3.0], "processor_seconds": 90.0,
        },
        "evaluation": {"reward": reward, "by_part": [0.01, reward / 100]},
        "bounds": {
            "chance": {"reward": 0.5, "by_part": [0.005, 0.005]},
            "perfect memory": {"reward": 20.0, "by_part": [0.1, 0.3]},
        },
    }  # fmt: skip


def test_the_page_has_every_memory_between_the_bounds() -> None:
    records = [a_record("feedback", seed, 9.0 + seed) for seed in (1, 2, 3)]
    records += [a_record("none", 1, 3.0)]
    page, figures = table.pages(Path("records"), records)
    rows = [line for line in page.split("\n") if line.startswith("|")]
    assert rows[2] == "| *chance* |  |  | 0.50 | 0.5 | 0.5 |  |"
    assert rows[3].startswith("| none | 1 | 1,234 | 3.00 (3.00-3.00) | 1.0 (1.0-1.0) | 3.0 ")
    assert rows[4].startswith("| feedback | 3 | 1,234 | 11.00 (10.00-12.00) | 1.0 (1.0-1.0) | 11.0")
    assert rows[4].endswith("| 90 |")
    assert rows[5] == "| *perfect memory* |  |  | 20.00 | 10.0 | 30.0 |  |"
    assert "feedback sees what feedback does." in page and "transformer sees" not in page
    course, within = figures["reward"]().axes
    lines = {line.get_label(): line for line in course.get_lines()}
    assert lines["feedback"].get_xydata().tolist()[-1] == [4000.0, 3.0]
    assert {line.get_label() for line in within.get_lines()} == set(lines) == {
        "no memory", "feedback", "perfect memory", "chance",
    }  # fmt: skip


def test_a_curve_is_of_means() -> None:
    rewards = [float(number) for number in range(70)]
    assert table.averaged(rewards)[:2] == [1.0, 4.0]
    assert table.averaged(rewards)[-1] == 69.0
    assert table.averaged([5.0]) == [5.0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--memories", "parrot"], "`--memories` has `parrot`"),
        (["--stages", "sleep"], "`--stages` has `sleep`"),
    ],
)
def test_user_errors_are_one_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert maze.main(flags) == 1
    errors = [line for line in capsys.readouterr().err.split("\n") if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]


def test_a_report_needs_a_training(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    places = ["--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "results")]
    assert maze.main(["--stages", "report", *places]) == 1
    assert "is not trained: run the stage `train` first" in capsys.readouterr().err
