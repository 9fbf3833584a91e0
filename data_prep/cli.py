"""The commands of ``python -m data_prep``."""

import argparse
import logging
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from data_prep import __version__
from data_prep.errors import UserError
from data_prep.options import Options

logger = logging.getLogger("data_prep")

LIBRARIES = ("sentencepiece", "sacremoses", "numpy", "fairseq-fixed", "fairseq", "torch")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line (``sys.argv`` if ``argv`` is ``None``)."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep", description="Parallel text to binarised fairseq data."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    parallel = commands.add_parser("parallel", help="prepare any parallel text, plain or gzip")
    parallel.set_defaults(run=run_parallel)
    add_corpora(parallel)
    add_options(parallel)
    return parser.parse_args(argv)


def add_corpora(parser: argparse.ArgumentParser) -> None:
    """The files of ``parallel``."""
    prefix = "PREFIX.LANG[.gz] for both languages, optional PREFIX.docid[.gz]"
    parser.add_argument("--train", nargs="+", required=True, metavar="PREFIX", help=prefix)
    parser.add_argument("--valid", required=True, metavar="PREFIX", help="the same, validation set")
    parser.add_argument("--test", required=True, metavar="PREFIX", help="the same, test set")


def add_options(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """The flags of ``Options``, with other defaults where a command has some."""
    default = Options(**defaults)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    add = parser.add_argument
    add("--source-lang", default=default.source_lang)
    add("--target-lang", default=default.target_lang)
    clean = parser.add_argument_group("cleaning of the training text")
    clean.add_argument("--min-words", type=int, default=default.min_words)
    clean.add_argument("--max-words", type=int, default=default.max_words)
    clean.add_argument("--max-subwords", type=int, default=default.max_subwords)
    clean.add_argument(
        "--max-ratio",
        type=float,
        default=default.max_ratio,
        help="longer over shorter side, in subwords (default: %(default)s)",
    )
    clean.add_argument("--duplicates", choices=("drop", "keep"), default=default.duplicates)
    clean.add_argument("--control", choices=("replace", "drop"), default=default.control)
    clean.add_argument("--invalid-utf8", choices=("drop", "error"), default=default.invalid_utf8)
    text = parser.add_argument_group("text before the subwords")
    text.add_argument("--tokenizer", choices=("none", "moses"), default=default.tokenizer)
    text.add_argument("--normalize", action="store_true", help="normalise punctuation (sacremoses)")
    subwords = parser.add_argument_group("subwords")
    subwords.add_argument("--vocab-size", type=int, default=default.vocab_size)
    subwords.add_argument("--model-type", choices=("bpe", "unigram"), default=default.model_type)
    subwords.add_argument("--character-coverage", type=float, default=default.character_coverage)
    subwords.add_argument("--byte-fallback", action="store_true")
    subwords.add_argument("--spm-sample", type=int, default=default.spm_sample, metavar="PAIRS")
    subwords.add_argument("--seed", type=int, default=default.seed)
    add("--workers", type=int, default=default.workers, help="processes (the output is the same)")


def options_of(args: argparse.Namespace) -> Options:
    """The ``Options`` that the command line asks for."""
    names = Options.__dataclass_fields__
    return Options(**{name: getattr(args, name) for name in names})


def run_parallel(args: argparse.Namespace) -> None:
    """Prepare parallel text that lies in files."""
    from data_prep.corpus import find_parallel
    from data_prep.pipeline import Corpora, Preparation

    options = options_of(args)
    langs = options.source_lang, options.target_lang
    corpora = Corpora(
        [find_parallel(prefix, *langs) for prefix in args.train],
        find_parallel(args.valid, *langs),
        find_parallel(args.test, *langs),
    )
    tell(Preparation(args.out, corpora, options).run(), args.out)


def tell(report: dict[str, Any], out: Path) -> None:
    """Log what was prepared."""
    for reason, count in report["dropped"].items():
        logger.info("dropped: %d pairs: %s", count, reason)
    logger.info("pairs: %s", ", ".join(f"{s} {n}" for s, n in report["pairs"].items()))
    logger.info("ready: `%s`, %d symbols", out / "bin", report["vocab_size"])


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that matter, as far as they are installed."""
    found = {"data_prep": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    args = parse_args(argv)
    try:
        logger.info("versions: %s", " ".join(f"{k}={v}" for k, v in versions().items()))
        words = argv if argv is not None else sys.argv[1:]
        logger.info("command: python -m data_prep %s", shlex.join(words))
        args.run(args)
    except UserError as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("interrupted: run the same command again to go on")
        return 130
    return 0
