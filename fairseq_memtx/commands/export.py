"""Write a model as a folder: ``memtx export MODEL.pt --out FOLDER``.

The folder has all that translating takes, and is read without fairseq: `memtx translate FOLDER`.
`memtx import` is the way back.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError

logger = logging.getLogger(__name__)

#: Options of the search that a folder may set, and their names in it.
SEARCH = ("beam", "lenpen", "max_len_a", "max_len_b")


def export(args: argparse.Namespace) -> None:
    """Write the folder.

    Raises:
        UserError: where a file is missing or unusable.
    """
    from fairseq_memtx.folder.writing import Export, write_folder
    from fairseq_memtx.translation.settings import SearchSettings

    for name, path in (("", args.checkpoint), ("--record ", args.record)):
        if path is not None and not path.is_file():
            raise UserError(f"there is no file `{name}{path}`: check the path")
    search = {name: getattr(args, name) for name in SEARCH if getattr(args, name) is not None}
    SearchSettings(**search)
    wanted = Export(args.checkpoint, args.data, args.weights, args.shortlist, args.record, search)
    with command_line.writing(args.out):
        write_folder(wanted, args.out)
    size = sum(path.stat().st_size for path in args.out.iterdir())
    logger.info("%s: %.1f MiB, weights in %s", args.out, size / 2**20, args.weights)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx export``."""
    parser = argparse.ArgumentParser(prog="memtx export", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("checkpoint", type=Path, help="a translation model, ours or a Transformer of fairseq's")
    add("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    add("--weights", choices=("float32", "bfloat16", "int8"), default="float32",
        help="as they are, in half the bytes, or in eight bits (default: float32)")  # fmt: skip
    add("--data", type=Path, help="folder of the binarised data (default: as in training)")
    add("--shortlist", type=Path, help="file of `memtx shortlist`, which the folder then uses")
    add("--record", type=Path, help="record of the experiment, for scores and speed in the card")
    add("--beam", type=command_line.positive_int, help="hypotheses side by side, for the folder")
    add("--lenpen", type=float, help="exponent of the length, for the folder")
    add("--max-len-a", type=float, help="subwords for each one of the source, and")
    add("--max-len-b", type=command_line.positive_int, help="so many more, for the folder")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx export``."""
    args = parse_args(argv)
    return command_line.run(lambda: export(args))
