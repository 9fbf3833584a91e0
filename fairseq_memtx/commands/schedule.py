"""Print, and plot, what a length schedule will do: update, longest length, share of the data.

``memtx schedule DATA_BIN --max-tokens 4000 --memtx-length-schedule root --plot x.png``
needs no training; its flags are those of ``fairseq-train`` that decide on the schedule.
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from fairseq_memtx.ground.writing import check_output

if TYPE_CHECKING:
    from fairseq_memtx.data.curriculum import Curriculum, Pairs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """The state of a schedule: ``length`` in subwords, ``share`` of the pairs (in the mode prefix
    of the target tokens) that are trained on.
    """

    update: int
    length: int
    share: float


def points(curriculum: Curriculum, rows: int) -> list[Point]:
    """About ``rows`` points evenly over the schedule, and its end."""
    schedule = curriculum.schedule
    step = max(1, math.ceil(schedule.updates / rows))
    return [point(curriculum, update) for update in (*range(0, schedule.updates, step),
                                                     schedule.updates)]  # fmt: skip


def point(curriculum: Curriculum, update: int) -> Point:
    """The state when ``update`` updates were made."""
    length = min(curriculum.schedule.at(update), curriculum.distribution.longest)
    return Point(update, length, curriculum.share(length))


def table(rows: Sequence[Point]) -> str:
    """The points as text, a line each."""
    lines = [f"{'update':>8} {'length':>8} {'share of the data':>18}"]
    lines += [f"{row.update:>8} {row.length:>8} {row.share:>17.1%}" for row in rows]
    return "\n".join(lines) + "\n"


def plot(curriculum: Curriculum, path: Path) -> None:
    """Write a plot of length and share over the updates; its ending says the format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = points(curriculum, rows=400)
    figure, left = pyplot.subplots(figsize=(6, 4), layout="constrained")
    right = left.twinx()
    updates = [row.update for row in found]
    left.step(updates, [row.length for row in found], where="post", color="#4c72b0")
    right.step(updates, [row.share for row in found], where="post", color="#c44e52")
    left.set_xlabel("updates")
    left.set_ylabel("longest length (subwords)", color="#4c72b0")
    right.set_ylabel("share of the data", color="#c44e52")
    right.set_ylim(0, 1.02)
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=path.suffix.removeprefix(".") or "png")
    except ValueError as error:
        raise UserError(f"`--plot {path}` cannot be written: {error}") from error
    finally:
        pyplot.close(figure)
    write_bytes(path, buffer.getvalue())


def read_pairs(folder: Path, source_lang: str | None, target_lang: str | None) -> Pairs:
    """Lengths of the training pairs in a folder of fairseq's binary files."""
    import numpy as np
    from fairseq.data.data_utils import infer_language_pair
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    from fairseq_memtx.data.binarised import check_pair
    from fairseq_memtx.data.curriculum import Pairs

    if not folder.is_dir():
        raise UserError(f"`{folder}` is not a folder: name one of binarised data")
    if source_lang is None or target_lang is None:
        source_lang, target_lang = infer_language_pair(str(folder))
    prefix = folder / f"train.{source_lang}-{target_lang}"
    sizes = []
    for language in (source_lang, target_lang):
        if not Path(f"{prefix}.{language}.idx").is_file():
            raise UserError(
                f"there is no file `{prefix}.{language}.idx`: name a folder of binarised data"
            )
        check_pair(f"{prefix}.{language}")
        dataset = MMapIndexedDataset(f"{prefix}.{language}")  # unmaps its sizes when it goes
        sizes.append(dataset.sizes.astype(np.int64))
    return Pairs(np.arange(len(sizes[0]), dtype=np.int64), *sizes)


def make_curriculum(args: argparse.Namespace) -> Curriculum:
    """The curriculum that a training with these flags would have."""
    from fairseq_memtx import config
    from fairseq_memtx.data import curriculum

    pairs = read_pairs(args.data, args.source_lang, args.target_lang)
    batching = curriculum.Batching(args.max_tokens, args.batch_size, multiple=8)
    indices = pairs.indices[pairs.lengths("both") <= (args.max_tokens or sys.maxsize)]
    pairs = curriculum.Pairs(indices, pairs.source, pairs.target)
    order = indices[pairs.source[indices].argsort(kind="stable")]
    batches = len(batching.batches(order, pairs.lengths("both")))
    epoch_updates = math.ceil(batches / (args.update_freq * args.ranks))
    logger.info("%d pairs, %d updates an epoch", len(indices), epoch_updates)
    try:
        options = config.from_namespace(args, config.LengthOptions)
        if options.length_schedule == "none":
            raise UserError("there is no schedule to show: give --memtx-length-schedule")
        unit = args.memtx_segment_len if options.length_unit == "segments" else 1
        return curriculum.make_curriculum(options, pairs, batching, 1, epoch_updates, unit)
    except ValueError as error:
        raise UserError(str(error)) from error


def show(args: argparse.Namespace) -> None:
    """Print the table, and draw the plot where one is asked for."""
    if args.plot is not None:
        check_output(args.plot, "--plot")
    curriculum = make_curriculum(args)
    sys.stdout.write(table(points(curriculum, args.rows)))
    if args.plot is not None:
        plot(curriculum, args.plot)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx schedule``."""
    whole = command_line.positive_int
    parser = argparse.ArgumentParser(prog="memtx schedule", description=__doc__.split("\n")[0])
    add: Any = parser.add_argument
    add("data", type=Path, help="folder of binarised data")
    add("--source-lang", "-s")
    add("--target-lang", "-t")
    add("--max-tokens", type=whole, help="of fairseq-train: tokens in a batch")
    add("--batch-size", type=whole, help="of fairseq-train: pairs in a batch")
    add("--update-freq", type=whole, default=1, help="of fairseq-train: batches of an update")
    add("--ranks", type=whole, default=1, help="processes that train together")
    add("--rows", type=whole, default=20, help="lines of the table, about (default: 20)")
    add("--plot", type=Path, metavar="FILE", help="draw it, for example as FILE.png or FILE.svg")
    from fairseq_memtx import config

    config.add_flags(parser, config.LengthOptions)
    segment = config.SegmentOptions.segment_len
    add("--memtx-segment-len", type=whole, default=segment,
        help="of fairseq-train: subwords of a segment (default: %(default)s)")  # fmt: skip
    args = parser.parse_args(argv)
    if args.max_tokens is None and args.batch_size is None:
        parser.error("one of --max-tokens and --batch-size is needed")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx schedule``."""
    args = parse_args(argv)
    return command_line.run(lambda: show(args))
