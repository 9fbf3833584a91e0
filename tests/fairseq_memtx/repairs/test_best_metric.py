"""The metric that chooses the best checkpoint is there, or refused before training."""

import math
from pathlib import Path

import pytest
from fairseq import checkpoint_utils
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from tests.choosing import some
from tests.fairseq_memtx.tiny_training import load, make_data, run_training

repairs.apply()

BLEU = ["--eval-bleu", "--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
#: Nothing but the end can follow.
NOTHING = ["--eval-bleu-args", '{"beam": 1, "max_len_b": 0, "min_len": 0}']


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("metric") / "data", 12)


@pytest.mark.parametrize("task", some(["memtx_translation", "translation"], 2))
def test_bleu_of_nothing_is_zero(task: str, data: Path, tmp_path: Path) -> None:
    run_training(data, tmp_path, *BLEU, *NOTHING, "--max-update", "2", task=task)
    assert load(tmp_path / "checkpoint_best.pt")["extra_state"]["val_loss"] == 0.0


def test_batches_without_words_count(data: Path, tmp_path: Path, monkeypatch) -> None:
    """The first batch of a validation has no word: the second's BLEU counts for both."""
    logged = []
    reduce = TranslationTask.reduce_metrics

    def look(task, outputs, criterion):
        for output in outputs:
            if "_bleu_totals_0" in output:
                empty = len(logged) == 0
                for number in range(4):
                    output[f"_bleu_counts_{number}"] = 0 if empty else 5 - number
                    output[f"_bleu_totals_{number}"] = 0 if empty else 6 - number
                output["_bleu_sys_len"], output["_bleu_ref_len"] = (0, 6) if empty else (6, 6)
                logged.append(empty)
        reduce(task, outputs, criterion)

    monkeypatch.setattr(TranslationTask, "reduce_metrics", look)
    flags = ["--eval-bleu-args", '{"beam": 1, "max_len_b": 2}', "--batch-size-valid", "6"]
    run_training(data, tmp_path, *BLEU, *flags, "--max-update", "1")
    others = logged.count(False)
    assert others > 0
    # 5/6, 4/5, 3/4, 2/3: (1/3)^(1/4); and all together shorter than their references
    shortness = math.exp(1 - (others + 1) / others)
    found = load(tmp_path / "checkpoint_best.pt")["extra_state"]["val_loss"]
    assert found == pytest.approx(100 * (1 / 3) ** 0.25 * shortness, abs=0.01)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--best-checkpoint-metric", "bleu"], "bleu, which --eval-bleu computes"),
        (
            ["--best-checkpoint-metric", "lss"],
            "is lss, which validation does not give: choose one of .*loss",
        ),
    ],
)
def test_an_unknown_metric_is_refused_before_training(
    flags: list[str], says: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Trainer, "train_step")
    with pytest.raises(UserError, match=says):
        run_training(data, tmp_path, *flags, "--max-update", "1")


def test_looking_changes_nothing(data: Path, tmp_path: Path) -> None:
    """The weights are those of a training that chooses by its loss."""
    for name, metric in (("a", "loss"), ("b", "ppl")):
        flags = ["--best-checkpoint-metric", metric, "--max-update", "2"]
        run_training(data, tmp_path / name, *flags)
    one, other = (load(tmp_path / name / "checkpoint_last.pt")["model"] for name in "ab")
    assert all((one[name] == other[name]).all() for name in one)


def test_without_validation_nothing_is_asked(data: Path, tmp_path: Path) -> None:
    flags = ["--best-checkpoint-metric", "bleu", "--disable-validation", "--max-update", "1"]
    run_training(data, tmp_path, *flags)


def test_defect_stock_looks_for_the_metric_when_it_is_too_late(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails once fairseq logs a BLEU of 0, or looks before it trains."""
    stock = checkpoint_utils.load_checkpoint.__wrapped__
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint", stock)
    with pytest.raises(KeyError, match="bleu"):
        run_training(data, tmp_path, "--best-checkpoint-metric", "bleu", "--max-update", "1")
    plain = TranslationTask.reduce_metrics.__wrapped__
    monkeypatch.setattr(TranslationTask, "reduce_metrics", plain)
    with pytest.raises(KeyError, match="bleu"):
        run_training(data, tmp_path, *BLEU, *NOTHING, "--max-update", "1")
