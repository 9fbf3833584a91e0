"""Make a checkpoint of a model's folder: ``memtx import FOLDER --out model.pt``.

The way back from `memtx export`; from weights in float32 it has the same numbers, bit for bit. The
dictionaries and the sentencepiece model are written beside it.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.writing import check_output

logger = logging.getLogger(__name__)


def import_folder(folder: Path, out: Path) -> None:
    """Write the checkpoint.

    Raises:
        UserError: where the folder is damaged, or others of the files are there already.
    """
    from fairseq_memtx.folder.back import write_checkpoint

    if not folder.is_dir():
        raise UserError(f"there is no folder `{folder}`: name one of `memtx export`")
    check_output(out, "--out", sorted(folder.iterdir()))
    with command_line.writing(out):
        write_checkpoint(folder, out)
    logger.info("%s: %.1f MiB", out, out.stat().st_size / 2**20)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx import``."""
    parser = argparse.ArgumentParser(prog="memtx import", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("folder", type=Path, help="of `memtx export`")
    add("--out", type=Path, required=True, help="the checkpoint to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx import``."""
    args = parse_args(argv)
    return command_line.run(lambda: import_folder(args.folder, args.out))
