"""Trainings with the task: what it keeps of fairseq's, what it logs, and two ranks against one."""

import json
import math
import struct
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from fairseq.logging import progress_bar

from tests.fairseq_memtx.tiny_training import (
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
    """Bit for bit where the loss is not in pieces either, else up to rounding."""
    # An epsilon that lets Adam not make a step of the rounding of a gradient that is zero.
    flags = [*SHORT, "--max-update", "3", "--adam-eps", "0.001"]
    run_training(data, tmp_path / "stock", *flags, task="translation")
    run_training(data, tmp_path / "whole", *flags, "--memtx-loss", "whole")
    run_training(data, tmp_path / "pieces", *flags)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "stock"))
    for name, weight in weights(tmp_path / "pieces").items():
        want = weights(tmp_path / "stock")[name]
        torch.testing.assert_close(weight, want, rtol=0, atol=2e-6, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["order", "filter", "prefix"])
def test_two_ranks_train_as_one_with_batches_of_both(data: Path, tmp_path: Path, mode: str) -> None:
    """Up to rounding, which the order of a sum decides."""
    flags = [*SHORT, *SCHEDULE, "--memtx-length-mode", mode, "--max-epoch", "2", "--dropout", "0"]
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


class Writer:
    """Stands for TensorBoard's writer: remembers what it is given."""

    scalars: ClassVar[dict[str, list[tuple[int, float]]]] = {}

    def __init__(self, folder: str):
        self.name = Path(folder).name

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.setdefault(f"{self.name}/{tag}", []).append((step, value))

    def add_text(self, *unused: str) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_length_and_share_appear_in_tensorboard_and_the_progress_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress_bar, "SummaryWriter", Writer)
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {})
    monkeypatch.setattr(Writer, "scalars", {})
    xl = "--arch memtx_transformer_xl --memtx-segment-len 4 --memtx-length-unit segments"
    flags = [*SHORT, *SCHEDULE, *xl.split(), "--max-update", "8", "--no-save"]
    flags += ["--log-interval", "2", "--tensorboard-logdir", str(tmp_path / "tensorboard")]
    run_training(data, tmp_path, *flags, "--log-format", "simple")
    tags = ("length", "data_share", "segments")
    steps, lengths = zip(*Writer.scalars["train_inner/length"], strict=True)
    assert steps == (2, 4, 6, 8) and lengths[0] % 4 == 0 and lengths[0] < lengths[2] < lengths[3]
    shares, segments = (dict(Writer.scalars[f"train_inner/{tag}"]) for tag in tags[1:])
    assert 0 < shares[2] < shares[6] < shares[8] == 1.0
    assert segments[2] == lengths[0] / 4 and segments[8] == math.ceil(lengths[3] / 4)
    (line,) = [r.message for r in caplog.records if " num_updates=2," in r.message]
    for tag, value in zip(tags, (lengths[0], round(shares[2], 3), segments[2]), strict=True):
        assert f" {tag}={value:g}," in line


def tags_in(folder: Path) -> set[str]:
    """The tags of scalars in TensorBoard's files: records of a length, its checksum, an event and
    the event's checksum.
    """
    from tensorboardX.proto.event_pb2 import Event

    tags = set()
    for path in folder.glob("events.*"):
        written = path.read_bytes()
        while written:
            (length,) = struct.unpack("<Q", written[:8])
            event = Event.FromString(written[12 : 12 + length])
            tags |= {value.tag for value in event.summary.value}
            written = written[16 + length :]
    return tags


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("--arch memtx_feedback", {"mixture_0", "mixture_1", "length", "data_share"}),
        (
            "--arch memtx_compressive --criterion memtx_compression --memtx-compression-rate 2"
            " --memtx-compression conv --memtx-segment-len 4",
            {"compression_loss", "length", "data_share"},
        ),
    ],
)
def test_tensorboard_s_files_hold_what_is_ours(
    flags: str,
    wanted: set[str],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {})
    more = [*SHORT, *SCHEDULE, "--max-update", "2", "--no-save", "--log-interval", "1"]
    more += ["--tensorboard-logdir", str(tmp_path / "tensorboard")]
    run_training(data, tmp_path, *more, *flags.split(), "--log-format", "simple")
    assert tags_in(tmp_path / "tensorboard" / "train_inner") >= wanted | {"loss", "lr"}


def test_bleu_while_validating_and_cut_sources_are_kept(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--max-update", "1", "--no-epoch-checkpoints", *SCHEDULE]
    flags += ["--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_a": 1}']
    flags += ["--truncate-source", "--max-source-positions", "6", "--batch-size-valid", "20"]
    run_training(data, tmp_path, *flags, "--log-format", "json", "--no-save")
    (line,) = [json.loads(r.message) for r in caplog.records if r.name == "valid"]
    assert 0.0 <= float(line["valid_bleu"]) <= 100.0
