"""Command line of the sample generator."""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Sequence

from fairseq_memtx.ground.errors import tell
from fairseq_memtx.ground.logs import log_to_stderr

from .corpus import (
    DEFAULT_DOCUMENTS,
    DEFAULT_SEED,
    GENERATOR_VERSION,
    MIN_FEW,
    MIN_LONGEST,
    Limits,
    SampleError,
    generate,
)
from .documents import MAX_WORDS

logger = logging.getLogger(__name__)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.sample",
        description="Write the English-German sample corpus: documents drawn from a grammar.",
    )
    parser.add_argument("--out", required=True, help="folder for the files")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="default: %(default)s")
    parser.add_argument(
        "--documents",
        type=int,
        default=DEFAULT_DOCUMENTS,
        help="documents of all splits together, about 10 sentences each (default: %(default)s)",
    )
    parser.add_argument(
        "--longest",
        type=int,
        default=MAX_WORDS,
        metavar="WORDS",
        help=f"of a sentence, from {MIN_LONGEST} (default: %(default)s)",
    )
    parser.add_argument(
        "--few",
        type=int,
        default=0,
        metavar="WORDS",
        help=f"of each list of the lexicon, from {MIN_FEW}; 0: all (default)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Generate; 0 when done, 2 for a wrong option or an unusable folder."""
    args = parse_args(argv)
    log_to_stderr("%(message)s")
    logger.info("sample generator %d, Python %s", GENERATOR_VERSION, platform.python_version())
    logger.info("seed %d, %d documents, into %s", args.seed, args.documents, args.out)
    step = max(1, args.documents // 4)

    def progress(done: int) -> None:
        if done % step == 0:
            logger.info("%d of %d documents", done, args.documents)

    try:
        limits = Limits(args.longest, args.few)
        statistics = generate(args.out, args.seed, args.documents, progress, limits)
    except (SampleError, OSError) as error:
        tell(error)
        return 2
    report(statistics)
    return 0


def report(statistics: dict) -> None:
    """One line for each split."""
    for split, counts in statistics["splits"].items():
        logger.info(
            "%s: %d lines in %d documents, %.1f English words a line, %.0f%% need context",
            split,
            counts["lines"],
            counts["documents"],
            counts["mean_words"]["en"],
            100 * counts["context_share"],
        )
