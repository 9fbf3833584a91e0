"""What an experiment costs, from the log of a stand-in for fairseq-train."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from fairseq_memtx.ground import shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from scripts.experiment.configs import EXPERIMENTS
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.plan import Plan
from scripts.experiment.stages import cost

#: The first ten updates take 90 seconds, ten others 20: 500 target tokens an update.
TRAINER = """
import json
for updates, wall in ((10, 90), (20, 110), (30, 130), (40, 150)):
    stats = dict(epoch=1, update=0.1, num_updates=updates, wpb=500, wall=wall)
    print(f"now | INFO | train_inner | {json.dumps(stats)}")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentFolder:
    folder = ExperimentFolder(tmp_path / "demo")
    encoded = {"encode": {"subwords": [900, 1000]}}
    prepared = {"outputs": {"x": "hash"}, "stages": encoded, "pairs": {"train": 80}}
    write_json(folder.prepared, prepared)
    fake = tmp_path / "fake.py"
    fake.write_text(TRAINER)
    monkeypatch.setattr(shell, "executable", lambda line: [sys.executable, str(fake)])
    return folder


def experiment(**limits: int):
    demo = EXPERIMENTS["demo"]
    return dataclasses.replace(demo, training=dataclasses.replace(demo.training, **limits))


def test_hours_follow_from_the_pace_and_the_limit(folder, tmp_path: Path) -> None:
    runs = [Run("feedback", 1, 1), Run("feedback", 1, 2, recipe="curriculum")]
    cost.cost_all(Plan(experiment(max_update=36_000), folder, runs, place=tmp_path / "out"))
    record = json.loads((tmp_path / "out" / "cost.json").read_bytes())
    (row,) = record["rows"]  # seeds and recipes of one shape cost the same
    assert row["target_tokens_per_second"] == 250.0
    assert row["target_tokens"] == 18_000_000
    assert row["hours"] == 20.0
    assert "| feedback | 1 | 128 | 250 | 20.0 h |" in (tmp_path / "out" / "cost.md").read_text()
    settings = json.loads((folder.path / "cost" / "feedback-d1" / "settings.json").read_bytes())
    assert "--no-save" in settings["train_command"]
    assert "--memtx-length-schedule" not in settings["train_command"]


def test_epochs_limit_too(folder) -> None:
    limited = experiment(max_update=100, max_epoch=3)
    assert cost.target_tokens(limited, folder, 500.0) == 3 * 1080
    assert cost.target_tokens(experiment(max_update=100, max_epoch=0), folder, 5.0) == 500.0


def test_a_log_without_a_pace_is_a_user_error(folder) -> None:
    one = cost.pace(experiment(), folder, Run("feedback", 1, 1), 1)
    with pytest.raises(UserError, match="tells no pace"):
        one.found()
