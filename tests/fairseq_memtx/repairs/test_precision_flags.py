"""fairseq's flags of precision do what they say, or are refused in one line."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.trainer import Trainer

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.repairs import precision_flags
from tests.fairseq_memtx.tiny_training import TINY, load, make_data, run_training

repairs.apply()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("precision") / "data", train_pairs=24)


def read(flags: str, kind: str = "") -> Any:
    """fairseq's settings for a training with these flags, by its function of this kind."""
    words = ["data", "--task", "translation", *TINY.split(), *flags.split()]
    function = options.parse_args_and_arch
    function = getattr(function, kind) if kind else function
    return function(options.get_training_parser(), words)


@pytest.mark.parametrize("flag", ["--bf16", "--memory-efficient-bf16"])
def test_bfloat16_is_no_tpu(flag: str) -> None:
    args = read(flag)
    assert args.bf16 and not args.tpu


def test_defect_fairseq_takes_bfloat16_for_a_tpu() -> None:
    assert read("--bf16", "__wrapped__").tpu


def test_float16_on_a_cpu_has_no_flat_gradients() -> None:
    assert read("--fp16").fp16_no_flatten_grads
    assert not read("").fp16_no_flatten_grads


def test_defect_fairseq_looks_for_a_gpu_with_float16_on_a_cpu() -> None:
    assert not read("--fp16", "__wrapped__").fp16_no_flatten_grads


def test_flags_are_read_from_the_command_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["fairseq-train", "data", "--task", "translation", *TINY.split(), "--bf16"]
    monkeypatch.setattr(sys, "argv", words)
    assert not options.parse_args_and_arch(options.get_training_parser()).tpu
    sys.argv.append("--fp16")
    with pytest.raises(UserError):
        options.parse_args_and_arch(options.get_training_parser())


def test_a_tpu_is_left_to_those_who_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_flags, "has_tpu", lambda: True)
    assert read("--bf16").tpu
    assert read("--tpu").tpu


@pytest.mark.parametrize(
    "flags, named",
    [
        ("--fp16 --bf16", "--fp16 and --bf16"),
        ("--memory-efficient-fp16 --amp", "--fp16 and --amp"),
        ("--amp --memory-efficient-bf16", "--bf16 and --amp"),
        ("--tpu", "--tpu"),
        ("--fp16-adam-stats", "--fp16-adam-stats"),
        ("--fp16 --fp16-adam-stats", "--fp16-adam-stats"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flags: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as found:
        read(flags)
    assert "\n" not in str(found.value) and re.search("leave|left out", str(found.value))


@pytest.mark.parametrize(
    ("arch", "task", "flag"),
    [
        ("transformer", "translation", "--bf16"),
        ("memtx_feedback", "memtx_translation", "--fp16"),
        pytest.param("memtx_feedback", "memtx_translation", "--bf16", marks=pytest.mark.slow),
        pytest.param("transformer", "translation", "--fp16", marks=pytest.mark.slow),
        *(
            pytest.param(*both, "--memory-efficient-bf16", marks=pytest.mark.slow)
            for both in (("transformer", "translation"), ("memtx_feedback", "memtx_translation"))
        ),
    ],
)
def test_a_training_runs_and_goes_on(
    data: Path, tmp_path: Path, arch: str, task: str, flag: str
) -> None:
    tiny = TINY.replace("--arch memtx_feedback", f"--arch {arch}")
    for updates in ("2", "4"):
        flags = [flag, "--fp16-init-scale", "4", "--max-update", updates, "--disable-validation"]
        run_training(data, tmp_path, *flags, task=task, tiny=tiny)
    saved = load(tmp_path / "checkpoint_last.pt")
    assert saved["optimizer_history"][-1]["num_updates"] == 4
    assert all(torch.isfinite(x).all() for x in saved["model"].values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("arch", ["transformer", "memtx_feedback"])
@pytest.mark.parametrize("flag", ["--bf16", "--memory-efficient-bf16", "--fp16", "--amp"])
def test_a_training_runs_on_a_gpu(data: Path, tmp_path: Path, arch: str, flag: str) -> None:
    tiny = TINY.replace("--arch memtx_feedback", f"--arch {arch}").replace("--cpu", "")
    run_training(data, tmp_path, flag, "--max-update", "2", "--disable-validation", tiny=tiny)
    model = load(tmp_path / "checkpoint_last.pt")["model"]
    assert all(torch.isfinite(x).all() for x in model.values())


def test_an_overflow_on_a_cpu_ends_in_one_line(data: Path, tmp_path: Path) -> None:
    flags = ["--fp16", "--fp16-init-scale", str(2**40), "--max-update", "2"]
    with pytest.raises(UserError, match=r"--fp16-init-scale smaller \(it is 1099511627776\)"):
        run_training(data, tmp_path, *flags, "--disable-validation")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here fairseq finds a GPU")
def test_defect_fairseq_looks_for_a_gpu_after_an_overflow(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "train_step", Trainer.train_step.__wrapped__)
    flags = ["--fp16", "--fp16-init-scale", str(2**40), "--max-update", "2"]
    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
        run_training(data, tmp_path, *flags, "--disable-validation")
