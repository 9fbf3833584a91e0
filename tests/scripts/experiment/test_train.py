"""The training stage with a stand-in for fairseq-train: resuming, stamps, locks, refusals."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from fairseq_memtx.ground import shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from scripts.experiment import train
from scripts.experiment.configs import EXPERIMENTS
from scripts.experiment.folders import ExperimentFolder, Run

# Counts updates in its checkpoint, one line of log for each; dies when the file `die` is there.
FAKE_TRAINER = """
import json, pathlib, sys
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
folder, goal = pathlib.Path(value("--save-dir")), int(value("--max-update"))
last = folder / "checkpoint_last.pt"
done = int(last.read_text()) if last.exists() else 0
say = lambda kind, **stats: print(f"now | INFO | {kind} | {json.dumps(stats)}", flush=True)
print("now | INFO | x | num. shared model params: 1,234 (num. trained: 1,234)")
print(f"now | INFO | x | from {done}")
while done < goal:
    done += 1
    last.write_text(str(done))
    say("train_inner", epoch=1, update=done / 10, num_updates=str(done), loss="1.0")
    if (folder.parent / "die").exists() and done == 2:
        print("out of memory")
        raise SystemExit(1)
say("valid", epoch=1, valid_loss="2.0", valid_nll_loss="1.5", valid_num_updates=str(done))
say("train", epoch=1, train_nll_loss="1.6", train_wpb="10", train_num_updates=str(done))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> ExperimentFolder:
    """Prepared data, and a trainer that takes no time."""
    folder = ExperimentFolder(tmp_path / "demo")
    write_json(folder.prepared, {"outputs": {"bin/train": "hash"}})
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE_TRAINER)
    monkeypatch.setattr(shell, "executable", lambda line: [sys.executable, str(fake), *line[1:]])
    return folder


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
    train.train_all(experiment(), folder, runs, at_once=2, threads=1)
    settings = json.loads(folder.run(RUN).settings.read_bytes())
    assert settings["run"] == {"decoder": "feedback", "depth": 1, "seed": 1}
    assert "--arch memtx_feedback" in settings["train_command"]
    assert settings["generate_command"].startswith("fairseq-generate ")
    summary = json.loads(folder.run(RUN).result("train").read_bytes())
    assert (summary["updates"], summary["parameters"]) == (3, 1234)
    assert summary["target_tokens"] == 30
    assert folder.run(runs[1]).result("train").exists()


def test_a_finished_run_is_not_started_again(folder) -> None:
    for _ in range(2):
        train.train_all(experiment(), folder, [RUN], at_once=1, threads=1)
    assert starts(folder) == ["0"]


def test_a_longer_limit_continues_the_run(folder) -> None:
    train.train_all(experiment(3), folder, [RUN], at_once=1, threads=1)
    train.train_all(experiment(5), folder, [RUN], at_once=1, threads=1)
    assert starts(folder) == ["0", "3"]
    assert json.loads(folder.run(RUN).result("train").read_bytes())["updates"] == 5


def test_a_run_that_died_resumes_by_the_same_call(folder) -> None:
    die = folder.run(RUN).path / "die"
    die.parent.mkdir(parents=True)
    die.touch()
    with pytest.raises(UserError, match=r"(?s)training of feedback-d1-s1 failed.*out of memory"):
        train.train_all(experiment(), folder, [RUN], at_once=1, threads=1)
    assert not (folder.run(RUN).path / "stamps" / "train.json").exists()
    die.unlink()
    train.train_all(experiment(), folder, [RUN], at_once=1, threads=1)
    assert starts(folder) == ["0", "2"]


def test_a_run_begun_with_fairseqs_own_task_goes_on(folder, monkeypatch) -> None:
    assert shell.TASK == "memtx_translation"
    with monkeypatch.context() as before:
        before.setattr(shell, "TASK", "translation")
        train.train_all(experiment(), folder, [RUN], 1, 1)
    train.train_all(experiment(), folder, [RUN], 1, 1)
    assert starts(folder) == ["0"]  # done is done
    train.train_all(experiment(max_update=5), folder, [RUN], 1, 1)
    assert starts(folder) == ["0", "3"]


def test_other_settings_are_refused_and_lose_nothing(folder) -> None:
    train.train_all(experiment(), folder, [RUN], at_once=1, threads=1)
    before = folder.run(RUN).settings.read_bytes()
    with pytest.raises(UserError, match="holds a training with other settings or data"):
        train.train_all(experiment(lr=1.0), folder, [RUN], at_once=1, threads=1)
    assert folder.run(RUN).settings.read_bytes() == before


def test_other_data_is_refused(folder) -> None:
    train.train_all(experiment(), folder, [RUN], at_once=1, threads=1)
    write_json(folder.prepared, {"outputs": {"bin/train": "other"}})
    with pytest.raises(UserError, match="holds a training with other settings or data"):
        train.train_all(experiment(), folder, [RUN], at_once=1, threads=1)


def test_a_folder_in_use_is_refused(folder) -> None:
    with (
        train.locked(folder.run(RUN).path),
        pytest.raises(UserError, match="another training uses it"),
    ):
        train.train_all(experiment(), folder, [RUN], at_once=1, threads=1)
