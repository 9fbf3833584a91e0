"""Flags that cannot be together are refused when they are read.

`tests/reliability/test_fairseq_flags.py` tries them as commands.
"""

import argparse
from pathlib import Path

import pytest
import torch
from fairseq import options
from fairseq.sequence_generator import SequenceGenerator

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.tiny import build_model, random_tokens, tiny_dictionary
from tests.fairseq_memtx.tiny_training import TINY

repairs.apply()


def read(command: str, flags: str, kind: str = "") -> argparse.Namespace:
    parsers = {
        "generate": options.get_generation_parser,
        "interactive": options.get_interactive_generation_parser,
        "train": options.get_training_parser,
    }
    words = ["data", *(TINY.split() if command == "train" else ["--path", "model.pt"])]
    function = options.parse_args_and_arch
    function = getattr(function, kind) if kind else function
    return function(parsers[command](), [*words, *flags.split()])


@pytest.mark.parametrize(
    ("command", "flags", "says"),
    [
        (
            "generate",
            "--sampling --match-source-len --nbest 5",
            "--sampling and --match-source-len",
        ),
        ("generate", "--sampling", "--nbest is 1: with --sampling it has to be 5"),
        (
            "generate",
            "--min-len 300",
            "--min-len is 300: it has to be at most --max-len-b, which is 200",
        ),
        ("generate", "--post-process x", "which is no way to join subwords"),
        (
            "interactive",
            "--batch-size 4",
            "--batch-size is 4: it has to be at most --buffer-size, which is 1",
        ),
        ("interactive", "--input /nowhere/x", "there is no file `/nowhere/x`"),
        ("train", "--optimizer-overrides [1]", "it has to be a dictionary"),
        ("train", "--save-async", "needs the package iopath"),
        ("train", "--use-sharded-state", "is for --ddp-backend fully_sharded"),
        ("train", "--zero-sharding os", "needs the package fairscale"),
        ("train", "--distributed-world-size 99", "start the ranks one by one"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(command: str, flags: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as found:
        read(command, flags)
    assert "\n" not in str(found.value)
    assert read(command, flags, "__wrapped__")


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("generate", "--constraints --task translation_lev"),
        ("generate", "--print-step --task translation"),
    ],
)
def test_what_only_another_command_or_task_has_is_refused(command: str, flags: str) -> None:
    with pytest.raises(UserError, match=r"leave --.* out"):
        read(command, flags)
    read("interactive", "--constraints")
    read("generate", "--print-step --retain-iter-history --task translation_lev")


def test_what_can_be_is_read(tmp_path: Path) -> None:
    read("generate", "--sampling --sampling-topk 3 --nbest 5 --max-len-a 1 --min-len 300")
    read("train", f"--save-dir {tmp_path} --distributed-world-size 2 --distributed-rank 1"
                  " --distributed-init-method tcp://localhost:1")  # fmt: skip


def test_defect_stock_finds_out_while_it_searches() -> None:
    """Fails once fairseq looks at its flags before it begins."""
    args = read("generate", "--min-len 300", "__wrapped__")
    assert args.min_len > args.max_len_b
    lengths = {"max_len_b": 3, "min_len": 9}
    generator = SequenceGenerator([build_model()], tiny_dictionary(), beam_size=2, **lengths)
    net_input = {"src_tokens": random_tokens([4]), "src_lengths": torch.tensor([4])}
    with pytest.raises(UserError, match="make it smaller"):
        generator._generate({"net_input": net_input})
    with pytest.raises(AssertionError, match="min_len cannot be larger"):
        SequenceGenerator._generate.__wrapped__(generator, {"net_input": net_input})
