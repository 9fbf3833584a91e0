"""Trainings with the task: what it keeps of fairseq's, what it logs, and two ranks against one."""

import json
from pathlib import Path

import pytest
import torch

from tests.fairseq_memtx.tasks.training import (
    assert_equal,
    load,
    make_data,
    run_training,
    run_two_ranks,
)

SHORT = ["--no-epoch-checkpoints", "--disable-validation", "--max-tokens", "100"]
SCHEDULE = ["--memtx-length-schedule", "linear", "--memtx-length-updates", "6"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("translation") / "data", train_pairs=40)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load(folder / "checkpoint_last.pt")["model"]


def test_without_its_flags_it_trains_as_fairseqs_task(data: Path, tmp_path: Path) -> None:
    for task in ("translation", "memtx_translation"):
        run_training(data, tmp_path / task, *SHORT, "--max-update", "3", task=task)
    assert_equal(weights(tmp_path / "memtx_translation"), weights(tmp_path / "translation"))


def test_two_ranks_train_as_one_with_batches_of_both(data: Path, tmp_path: Path) -> None:
    """Up to rounding, which the order of a sum decides."""
    flags = [*SHORT, *SCHEDULE, "--max-epoch", "2", "--dropout", "0"]
    run_training(data, tmp_path / "one", *flags, "--update-freq", "2")
    run_two_ranks(data, tmp_path / "two", *flags)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=2e-6, msg=name)


def test_length_and_share_are_logged(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = [*SHORT, *SCHEDULE, "--max-update", "8", "--memtx-length-mode", "filter"]
    run_training(data, tmp_path, *flags, "--log-format", "json", "--log-interval", "1")
    lines = [r.message for r in caplog.records if r.name == "train_inner"]
    logged = [json.loads(line) for line in lines]
    lengths = [int(line["length"]) for line in logged]
    shares = [float(line["data_share"]) for line in logged]
    assert lengths == sorted(lengths) and lengths[0] < lengths[5]
    assert shares == sorted(shares) and shares[0] < 0.2
    assert lengths[6:] == [lengths[6]] * 2 and shares[6:] == [1.0, 1.0]
    assert "length schedule linear (filter): target length from" in caplog.text


def test_bleu_while_validating_and_cut_sources_are_kept(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--max-update", "1", "--no-epoch-checkpoints", *SCHEDULE]
    flags += ["--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_a": 1}']
    flags += ["--truncate-source", "--max-source-positions", "6", "--batch-size-valid", "20"]
    run_training(data, tmp_path, *flags, "--log-format", "json", "--no-save")
    (line,) = [json.loads(r.message) for r in caplog.records if r.name == "valid"]
    assert 0.0 <= float(line["valid_bleu"]) <= 100.0
