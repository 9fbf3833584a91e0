"""The training stage with a stand-in for fairseq-train: resuming, stamps, locks, refusals."""

import dataclasses
import json
from pathlib import Path

import pytest

from fairseq_memtx.ground import shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from scripts.experiment.configs import EXPERIMENTS
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.plan import Plan
from scripts.experiment.recipes import RECIPES
from scripts.experiment.stages import train


def experiment(max_update: int = 3, **training):
    demo = EXPERIMENTS["demo"]
    changed = dataclasses.replace(demo.training, max_update=max_update, **training)
    return dataclasses.replace(demo, training=changed)


RUN = Run("feedback", 1, 1)


def starts(folder: ExperimentFolder) -> list[str]:
    """From which update each start of the trainer went on."""
    lines = folder.run(RUN).train_log.read_text().split("\n")
    return [line.rpartition("from ")[2] for line in lines if " from " in line]


def test_a_run_leaves_settings_log_summary_and_stamp(folder) -> None:
    runs = [RUN, Run("transformer", 2, 7)]
    train.train_all(Plan(experiment(), folder, runs, at_once=2))
    settings = json.loads(folder.run(RUN).settings.read_bytes())
    assert settings["run"] == {
        "decoder": "feedback",
        "depth": 1,
        "seed": 1,
        "recipe": "plain",
        "width": 0,
    }
    assert "--arch memtx_feedback" in settings["train_command"]
    assert "fairseq-train runs/demo/data/bin " in settings["train_command"]
    summary = json.loads(folder.run(RUN).result("train").read_bytes())
    assert (summary["updates"], summary["parameters"]) == (3, 1234)
    assert summary["target_tokens"] == 30
    assert folder.run(runs[1]).result("train").exists()


def test_a_finished_run_is_not_started_again(folder) -> None:
    for _ in range(2):
        train.train_all(Plan(experiment(), folder, [RUN]))
    assert starts(folder) == ["0"]


def test_a_longer_limit_continues_the_run(folder) -> None:
    train.train_all(Plan(experiment(3), folder, [RUN]))
    train.train_all(Plan(experiment(5), folder, [RUN]))
    assert starts(folder) == ["0", "3"]
    assert json.loads(folder.run(RUN).result("train").read_bytes())["updates"] == 5


def test_a_run_that_died_resumes_by_the_same_call(folder) -> None:
    die = folder.run(RUN).path / "die"
    die.parent.mkdir(parents=True)
    die.touch()
    with pytest.raises(UserError, match=r"(?s)training of feedback-d1-s1 failed.*out of memory"):
        train.train_all(Plan(experiment(), folder, [RUN]))
    assert not (folder.run(RUN).path / "stamps" / "train.json").exists()
    die.unlink()
    train.train_all(Plan(experiment(), folder, [RUN]))
    assert starts(folder) == ["0", "2"]


def test_a_run_begun_with_fairseqs_own_task_goes_on(folder, monkeypatch) -> None:
    assert shell.TASK == "memtx_translation"
    with monkeypatch.context() as before:
        before.setattr(shell, "TASK", "translation")
        train.train_all(Plan(experiment(), folder, [RUN]))
    train.train_all(Plan(experiment(), folder, [RUN]))
    assert starts(folder) == ["0"]  # done is done
    train.train_all(Plan(experiment(max_update=5), folder, [RUN]))
    assert starts(folder) == ["0", "3"]


def test_other_settings_are_refused_and_lose_nothing(folder) -> None:
    train.train_all(Plan(experiment(), folder, [RUN]))
    before = folder.run(RUN).settings.read_bytes()
    with pytest.raises(UserError, match="holds a training with other settings or data"):
        train.train_all(Plan(experiment(lr=1.0), folder, [RUN]))
    assert folder.run(RUN).settings.read_bytes() == before


def test_other_data_is_refused(folder) -> None:
    train.train_all(Plan(experiment(), folder, [RUN]))
    write_json(folder.prepared, {"outputs": {"bin/train": "other"}})
    with pytest.raises(UserError, match="holds a training with other settings or data"):
        train.train_all(Plan(experiment(), folder, [RUN]))


def test_a_folder_in_use_is_refused(folder) -> None:
    with (
        train.locked(folder.run(RUN).path),
        pytest.raises(UserError, match="another training uses"),
    ):
        train.train_all(Plan(experiment(), folder, [RUN]))


def test_a_folder_that_was_moved_is_the_same(folder, tmp_path: Path) -> None:
    train.train_all(Plan(experiment(3), folder, [RUN]))
    moved = ExperimentFolder(tmp_path / "elsewhere" / "demo")
    moved.path.parent.mkdir()
    folder.path.rename(moved.path)
    train.train_all(Plan(experiment(3), moved, [RUN]))
    assert starts(moved) == ["0"]
    train.train_all(Plan(experiment(5), moved, [RUN]))
    assert starts(moved) == ["0", "3"]
    assert str(tmp_path) not in moved.run(RUN).settings.read_text()


def test_each_start_notes_its_commit(folder) -> None:
    for updates in (3, 5):
        train.train_all(Plan(experiment(updates), folder, [RUN]))
    lines = folder.run(RUN).starts.read_text().splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [["commit", "dirty"]] * 2


def test_what_a_recipe_begins_from_is_trained_before(folder) -> None:
    warm = dataclasses.replace(RUN, recipe="warm")
    train.train_all(Plan(experiment(), folder, [warm], at_once=2))
    (line,) = [
        word
        for word in json.loads(folder.run(warm).settings.read_bytes())["inputs"]["command"]
        if "checkpoint_last" in word
    ]
    assert line == "runs/demo/transformer-d1-s1/checkpoints/checkpoint_last.pt"
    assert (folder.path / "transformer-d1-s1" / "train.json").exists()


def test_recipes_differ_in_nothing_but_their_flags(folder) -> None:
    def words(recipe: str) -> list[str]:
        run = dataclasses.replace(RUN, recipe=recipe)
        return train.RunTraining(experiment(), folder, run, 1).told_command()

    plain, curriculum = words("plain"), words("curriculum")
    added = [word for word in curriculum if word not in plain]
    assert added[:4] == list(RECIPES["curriculum"].flags)
    assert len(added) == 5 and added[4].startswith("runs/demo/feedback-d1-curriculum-s1/")
    assert "order" in curriculum and "filter" not in curriculum
    assert "--memtx-length-schedule" in words("both") and "--memtx-init-from" in words("both")
    assert words("distilled")[1] == "runs/demo/distilled/bin"


def test_the_order_of_trainings() -> None:
    runs = [RUN, dataclasses.replace(RUN, recipe="both"), dataclasses.replace(RUN, recipe="warm")]
    runs += [dataclasses.replace(RUN, recipe="distilled")]
    first, after = train.in_order(EXPERIMENTS["demo"], runs)
    assert [run.name for run in first] == [
        "feedback-d1-s1",
        "transformer-d1-curriculum-s1",
        "transformer-d1-s1",
        "transformer-d2-s1",
    ]
    assert after == runs[1:]
