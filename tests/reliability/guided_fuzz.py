"""The loaders and the text steps under a fuzzer that is guided by coverage (atheris).

`python -m tests.reliability.guided_fuzz --seconds 600 --corpus FOLDER` keeps what it finds new in
FOLDER and goes on from it. It ends at the first input that is neither read nor refused in one line,
and leaves that input there. Wants `pip install atheris==3.0.0`, which nothing else here does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.text import TextSteps, looks_like_utf16
from tests.reliability.rubbish import LOADERS, MADE

#: Number of the target in an input's first byte: what finds it, and the name of its file.
TARGETS = [
    *((Path(name).name, load) for name, load in sorted(LOADERS.items())),
    *((name, load) for name, (_, load) in sorted(MADE.items())),
]


def one_input(content: bytes, folder: Path) -> None:
    """Give an input to the target that it names.

    Raises:
        AssertionError: for a refusal of several lines, or text steps that contradict themselves.
    """
    if not content:
        return
    number, body = content[0] % (len(TARGETS) + 1), content[1:]
    if number == len(TARGETS):
        clean_text(body)
        return
    name, load = TARGETS[number]
    path = folder / name
    path.write_bytes(body)
    try:
        load(path)
    except UserError as error:
        assert "\n" not in str(error), error


def clean_text(content: bytes) -> None:
    """A clean line is one line, and clean."""
    looks_like_utf16(content)
    line = content.decode(errors="replace").replace("\n", " ")
    cleaned = TextSteps().before("en")(line)
    assert "\n" not in cleaned and "\r" not in cleaned
    assert TextSteps().before("en")(cleaned) == cleaned


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.guided_fuzz")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="inputs to begin with; new ones are added")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz until the time is over; the fuzzer itself ends the process."""
    args = parse_args(argv)
    try:
        import atheris
    except ImportError:
        print("error: atheris is not installed: pip install atheris==3.0.0", file=sys.stderr)
        return 1
    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as name:
        flags = [f"-max_total_time={args.seconds}", f"-seed={args.seed}", "-max_len=20000"]
        if args.corpus is not None:
            args.corpus.mkdir(parents=True, exist_ok=True)
            flags += [str(args.corpus), f"-artifact_prefix={args.corpus}/"]
        atheris.Setup([sys.argv[0], *flags], lambda content: one_input(content, Path(name)))
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
