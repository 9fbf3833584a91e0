"""Every command that reads a checkpoint refuses the hostile ones in one line, and leaves nothing.

A few kinds of file are tried by default; all of them with `-m slow`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import generate, interactive, train, validate

from fairseq_memtx.commands import (
    adapt,
    average,
    explain,
    export,
    mixture,
    quantize,
    score,
    translate,
)
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.serving.limits import RequestLimits
from fairseq_memtx.serving.models import load_server
from scripts.shared import measure
from tests.reliability.hostile import HOSTILE, POISONED

#: A command: the checkpoint, the binarised data, a folder to write to.
Command = Callable[[Path, Path, Path], int]

TASK = ["--task", "memtx_translation", "--source-lang", "en", "--target-lang", "de", "--cpu"]


def fairseq_generate(bad: Path, data: Path, out: Path) -> int:
    words = [str(data), *TASK, "--path", str(bad), "--gen-subset", "test"]
    args = options.parse_args_and_arch(options.get_generation_parser(), words)
    generate.main(convert_namespace_to_omegaconf(args))
    return 0


def fairseq_interactive(bad: Path, data: Path, out: Path) -> int:
    parser = options.get_generation_parser(interactive=True)
    args = options.parse_args_and_arch(parser, [str(data), *TASK, "--path", str(bad)])
    interactive.main(convert_namespace_to_omegaconf(args))
    return 0


def fairseq_validate(bad: Path, data: Path, out: Path) -> int:
    words = [str(data), *TASK, "--path", str(bad), "--max-tokens", "1000"]
    parser = options.get_validation_parser()
    args = options.parse_args_and_arch(parser, words)
    again = options.get_validation_parser()
    overrides = options.parse_args_and_arch(again, words, suppress_defaults=True)
    validate.main(convert_namespace_to_omegaconf(args), overrides)
    return 0


def serve(bad: Path, data: Path, out: Path) -> int:
    """What `memtx serve` does before it listens."""
    load_server({"bad": bad}, RequestLimits())
    return 0


def resume(bad: Path, data: Path, out: Path) -> int:
    (out / "save").mkdir()
    last = out / "save" / "checkpoint_last.pt"
    shutil.copytree(bad, last) if bad.is_dir() else shutil.copy(bad, last)
    return fairseq_train("--arch", "transformer_tiny", data=data, out=out)


def start_from(bad: Path, data: Path, out: Path) -> int:
    return fairseq_train(
        *("--arch", "memtx_feedback_tiny", "--memtx-init-from", str(bad)), data=data, out=out
    )


def fairseq_train(*flags: str, data: Path, out: Path) -> int:
    words = [str(data), *TASK, "--save-dir", str(out / "save"), *flags]
    words += [
        "--optimizer",
        "adam",
        "--lr",
        "1e-3",
        "--batch-size",
        "8",
        "--max-update",
        "1",
        "--num-workers",
        "0",
    ]
    args = options.parse_args_and_arch(options.get_training_parser(), words)
    train.main(convert_namespace_to_omegaconf(args))
    return 0


COMMANDS: dict[str, Command] = {
    "average": lambda bad, data, out: average.main([str(bad), "--out", str(out / "new.pt")]),
    "quantize": lambda bad, data, out: quantize.main(
        [str(bad), "--out", str(out / "new.pt"), "--data", str(data)]
    ),
    "mixture": lambda bad, data, out: mixture.main([str(bad)]),
    "translate": lambda bad, data, out: translate.main(
        [str(bad), "--data", str(data), "--input", str(data / "dict.en.txt")]
    ),
    "explain": lambda bad, data, out: explain.main(
        [str(bad), "a dog .", "--data", str(data), "--out", str(out / "page.html")]
    ),
    "score": lambda bad, data, out: score.main(
        ["--model", str(bad), "--data", str(data), "--source", str(data / "dict.en.txt"),
         "--hypotheses", str(data / "dict.en.txt")]
    ),
    "export": lambda bad, data, out: export.main(
        [str(bad), "--out", str(out / "new"), "--data", str(data)]
    ),
    "adapt": lambda bad, data, out: adapt.main(
        [str(bad), "--out", str(out / "new.pt"), "--data", str(data), "--trained-on", str(data)]
    ),
    "serve": serve,
    "fairseq-generate": fairseq_generate,
    "fairseq-interactive": fairseq_interactive,
    "fairseq-validate": fairseq_validate,
    "fairseq-train": resume,
    "fairseq-train --memtx-init-from": start_from,
    "measure": lambda bad, data, out: measure.main(
        ["--data-bin", str(data), "--system", f"a={bad}", "--out", str(out / "speed.json"),
         "--fairseq-args", *TASK]
    ),
}  # fmt: skip

KINDS = {**HOSTILE, **POISONED}
FEW = ("code in the attention", "NaN")
#: Looks at one weight, and takes what is no checkpoint for a log.
NOT_FOR = {"mixture": {*POISONED}, "fairseq-train": {*POISONED}}


def cases() -> list:
    pairs = [(command, kind) for command in COMMANDS for kind in KINDS]
    fast = {(command, FEW[number % len(FEW)]) for number, command in enumerate(COMMANDS)}
    return [
        pytest.param(*pair, marks=[] if pair in fast else pytest.mark.slow)
        for pair in pairs
        if pair[1] not in NOT_FOR.get(pair[0], set())
    ]


@pytest.mark.parametrize(("command", "kind"), cases())
def test_it_is_refused_in_one_line(
    command: str,
    kind: str,
    tiny_checkpoints: dict[str, Path],
    prepared_sample: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out").mkdir()
    bad, mark, out = tmp_path / "bad.pt", tmp_path / "mark", tmp_path / "out"
    KINDS[kind](tiny_checkpoints["feedback"], bad, mark)
    try:
        assert COMMANDS[command](bad, prepared_sample / "bin", out) == 1
        (message,) = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error: ")]
    except UserError as error:
        message = str(error)
    named = "checkpoint_last.pt" if command == "fairseq-train" else "bad.pt"
    assert named in message and "\n" not in message
    assert not mark.exists()
    assert {path.name for path in out.iterdir()} <= {"save"}
