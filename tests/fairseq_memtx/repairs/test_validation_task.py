"""fairseq-validate reads its flags without `--task`, and has the checkpoint's."""

from pathlib import Path

import pytest
from fairseq import options

from fairseq_memtx import repairs
from tests.reliability.fairseq_commands import run

repairs.apply()


def test_the_task_is_that_of_the_checkpoint(
    prepared_sample: Path, tiny_checkpoints: dict[str, Path]
) -> None:
    words = [str(prepared_sample / "bin"), "--max-tokens", "600", "--cpu", "--num-workers", "0"]
    words += ["--path", str(tiny_checkpoints["feedback"])]
    alone, named = (run("validate", [*words, *more]) for more in ([], ["--task", "translation"]))
    assert alone.refused is named.refused is None
    (found,) = [line for line in alone.log.split("\n") if "| loss" in line]
    assert found.partition(" | wps ")[0] in named.log
    assert "'_name': 'memtx_translation'" in alone.log


def test_what_is_named_stays() -> None:
    words = ["data", "--task", "language_modeling", "--max-tokens", "9"]
    args = options.parse_args_and_arch(options.get_validation_parser(), words)
    assert args.task == "language_modeling"
    args = options.parse_args_and_arch(options.get_validation_parser("denoising"), words[:1])
    assert args.task == "denoising"


def test_defect_stock_looks_its_flags_up_under_no_task() -> None:
    """Fails once fairseq-validate has a default."""
    parser = options.get_validation_parser()
    with pytest.raises(KeyError):
        options.parse_args_and_arch.__wrapped__(parser, ["data", "--max-tokens", "9"])
