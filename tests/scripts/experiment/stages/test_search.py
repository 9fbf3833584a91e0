"""The search for learning rates, with a stand-in for fairseq-train."""

import dataclasses
import json

import pytest

from fairseq_memtx.ground.errors import UserError
from scripts.experiment.configs import EXPERIMENTS, LearningSearch
from scripts.experiment.folders import Run
from scripts.experiment.plan import Plan
from scripts.experiment.stages.learning import tuned
from scripts.experiment.stages.search import best, search_all
from scripts.experiment.stages.train import train_all

RUNS = [Run("feedback", 1, 1), Run("feedback", 1, 2, recipe="curriculum"), Run("transformer", 2, 1)]


def experiment(lrs: tuple[float, ...] = (1e-3, 2e-3, 5e-3)):
    demo = EXPERIMENTS["demo"]
    training = dataclasses.replace(demo.training, max_update=4)
    search = LearningSearch(lrs=lrs, warmups=(20, 10), updates=2)
    return dataclasses.replace(demo, training=training, search=search)


def found(folder, run: Run) -> dict:
    return json.loads((folder.search(run) / "search.json").read_bytes())


def test_the_least_loss_is_chosen_for_each_shape(folder) -> None:
    search_all(Plan(experiment(), folder, RUNS, at_once=2))
    assert sorted(path.name for path in (folder.path / "search").iterdir()) == [
        "feedback-d1",
        "transformer-d2",
    ]
    result = found(folder, RUNS[0])
    assert result["chosen"] == {"lr": 2e-3, "warmup_updates": 10}
    tried = [(one["lr"], one["warmup_updates"]) for one in result["tried"]]
    assert tried == [(1e-3, 20), (2e-3, 20), (5e-3, 20), (2e-3, 10)]
    assert (result["updates"], result["recipe"]) == (2, "plain")
    assert not list(folder.path.glob("search/*/*/checkpoints"))


def test_runs_train_with_what_was_chosen(folder) -> None:
    with pytest.raises(UserError, match=r"feedback-d1 is not chosen yet: run the stage `search`"):
        train_all(Plan(experiment(), folder, RUNS[:1]))
    search_all(Plan(experiment(), folder, RUNS, at_once=2))
    train_all(Plan(experiment(), folder, RUNS[1:2]))
    command = json.loads(folder.run(RUNS[1]).settings.read_bytes())["train_command"]
    assert "--lr 0.002 " in command and "--warmup-updates 10 " in command
    assert "--max-update 4" in command


def test_a_search_that_was_interrupted_goes_on(folder) -> None:
    trial = folder.search(RUNS[0]) / "lr0.001-warmup20"
    trial.mkdir(parents=True)
    (trial / "die").touch()
    with pytest.raises(UserError, match="out of memory"):
        search_all(Plan(experiment(), folder, RUNS[:1]))
    (trial / "die").unlink()
    search_all(Plan(experiment(), folder, RUNS[:1]))
    log = (trial / "train.log").read_text()
    assert [line.rpartition("from ")[2] for line in log.split("\n") if " from " in line] == [
        "0",
        "2",
    ]
    assert found(folder, RUNS[0])["chosen"]["lr"] == 2e-3


def test_a_search_is_done_once_also_after_its_grid_changed(folder) -> None:
    search_all(Plan(experiment(), folder, RUNS[:1], at_once=2))
    before = {path: path.stat().st_mtime_ns for path in folder.path.glob("search/**/*.json")}
    search_all(Plan(experiment(lrs=(7e-3,)), folder, RUNS[:1], at_once=2))
    assert {p: p.stat().st_mtime_ns for p in folder.path.glob("search/**/*.json")} == before


def test_a_rate_that_diverges_loses(folder) -> None:
    search_all(Plan(experiment(lrs=(1.0, 4e-3)), folder, RUNS[:1]))
    result = found(folder, RUNS[0])
    assert result["tried"][0]["valid_nll_loss"] is None
    assert result["chosen"]["lr"] == 4e-3


def test_without_a_search_all_share_a_rate(folder) -> None:
    demo = EXPERIMENTS["demo"]
    search_all(Plan(demo, folder, RUNS))
    assert not (folder.path / "search").exists()
    assert tuned(demo, folder, RUNS[0]) == demo


def test_the_best_of_equals_is_the_least_rate() -> None:
    tried = [{"lr": 2.0, "valid_nll_loss": None}, {"lr": 1.0, "valid_nll_loss": None}]
    assert best(tried)["lr"] == 1.0
