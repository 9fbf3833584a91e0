"""The commands of `python -m data_prep`, which are those of `memtx prepare`."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground.command_line import describe_os_error
from fairseq_memtx.ground.errors import UserError, one_line
from fairseq_memtx.ground.interruptions import terminable
from fairseq_memtx.ground.logs import log_to_stderr
from fairseq_memtx.ground.prepared import check_folder
from fairseq_memtx.ground.versions import versions

from .options import Options

if TYPE_CHECKING:
    from .sample import Limits

logger = logging.getLogger(__name__)

# What is customary for WMT14: 32k pieces, a ratio of 1.5; Common Crawl holds every script there is.
WMT14_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "max_ratio": 1.5,
    "character_coverage": 0.9999,
}
# The sample's text is made, not found: repetitions belong to its documents.
SAMPLE_DEFAULTS: dict[str, Any] = {"vocab_size": 2000, "duplicates": "keep"}


PROGRAM = "python -m data_prep"


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line (``sys.argv`` if ``argv`` is ``None``)."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Parallel text to binarised fairseq data."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sample = commands.add_parser("sample", help="make the sample corpus and prepare it")
    _add_sample(sample)
    parallel = commands.add_parser("parallel", help="prepare parallel text: plain, gzip or SGM")
    _add_parallel(parallel)
    wmt14 = commands.add_parser("wmt14", help="fetch and prepare the official WMT14 En-De files")
    _add_wmt14(wmt14)
    programs = commands.add_parser("programs", help="make the algorithmic task of state tracking")
    _add_programs(programs)
    fetch = commands.add_parser("fetch", help="get and check the texts of Multi30k and others")
    _add_fetch(fetch)
    verify = commands.add_parser("verify", help="compare a prepared folder with its checksums")
    verify.add_argument("out", type=Path, metavar="OUT", help="a folder that was prepared")
    verify.set_defaults(run=run_verify)
    return parser.parse_args(argv)


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_sample)
    add = parser.add_argument
    add("--documents", type=int, help="of all splits (default: the generator's)")
    add("--longest", type=int, metavar="WORDS", help="of a sentence, at most")
    add("--few", type=int, metavar="WORDS", help="of each list of the lexicon; 0: all")
    add_options(parser, languages=False, **SAMPLE_DEFAULTS)


def _add_parallel(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_parallel)
    add = parser.add_argument
    names = "PREFIX.LANG[.gz] for both languages, optional PREFIX.docid[.gz]"
    add("--train", nargs="+", required=True, metavar="PREFIX", help=names)
    for split in ("valid", "test"):
        one = parser.add_mutually_exclusive_group(required=True)
        one.add_argument(
            f"--{split}", metavar="PREFIX", help="the same, or PREFIX-{src,ref}.LANG.sgm[.gz]"
        )
        one.add_argument(f"--{split}-sgm", nargs=2, type=Path, metavar=("SRC", "REF"))
    add_options(parser)


def _add_wmt14(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_wmt14)
    add = parser.add_argument
    add("--local-dir", type=Path, help="folder that holds archives already")
    add("--download-dir", type=Path, help="where downloads are kept (default: OUT/downloads)")
    add("--mirror", action="append", metavar="URL", help="use this instead of the known mirrors")
    add_options(parser, languages=False, **WMT14_DEFAULTS)


def _add_programs(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_programs)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="output folder")
    add("--variables", type=int, default=3, help="of each program, at most 9 (default: 3)")
    add("--statements", type=int, default=100, help="of each program (default: 100)")
    shorter = "of those for training, where they are to be of another length"
    add("--train-statements", type=int, metavar="N", help=shorter)
    sizes = "programs for training, validation and test (default: 10000 1000 1000)"
    add("--programs", type=int, nargs=3, default=[10_000, 1_000, 1_000], metavar="N", help=sizes)
    add("--seed", type=int, default=1)


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    from .public_texts import PUBLIC_TEXTS

    parser.set_defaults(run=run_fetch)
    add = parser.add_argument
    add("name", choices=PUBLIC_TEXTS, help="which text")
    add("--out", type=Path, required=True, help="folder of corpora, as experiments take it")
    add("--local-dir", type=Path, help="folder that holds the files already")


def add_options(parser: argparse.ArgumentParser, languages: bool = True, **defaults: Any) -> None:
    """Add a flag for each field of ``Options``, with ``defaults`` in place of some of its own."""
    default = Options(**defaults)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--workers", type=int, default=default.workers, help="processes; changes nothing else"
    )
    if languages:
        parser.add_argument("--source-lang", default=default.source_lang)
        parser.add_argument("--target-lang", default=default.target_lang)
    else:
        parser.set_defaults(source_lang=default.source_lang, target_lang=default.target_lang)
    _add_cleaning(parser.add_argument_group("cleaning of the training text"), default)
    _add_text(parser.add_argument_group("text and subwords"), default)


def _add_cleaning(group: Any, default: Options) -> None:
    add = group.add_argument
    add("--min-words", type=int, default=default.min_words)
    add("--max-words", type=int, default=default.max_words)
    add("--max-subwords", type=int, default=default.max_subwords)
    ratio = "longer over shorter side, in subwords (default: %(default)s)"
    add("--max-ratio", type=float, default=default.max_ratio, help=ratio)
    add("--duplicates", choices=("drop", "keep"), default=default.duplicates)
    control = "control characters: a space in their place, or drop the pair (default: %(default)s)"
    add("--control", choices=("replace", "drop"), default=default.control, help=control)
    add("--invalid-utf8", choices=("drop", "error"), default=default.invalid_utf8)


def _add_text(group: Any, default: Options) -> None:
    add = group.add_argument
    moses = "words of sacremoses before the subwords; slow, and not needed by sentencepiece"
    add("--tokenizer", choices=("none", "moses"), default=default.tokenizer, help=moses)
    add("--normalize", action="store_true", help="normalise punctuation by sacremoses")
    size = "joint vocabulary (default: %(default)s)"
    add("--vocab-size", type=int, default=default.vocab_size, help=size)
    add("--model-type", choices=("bpe", "unigram"), default=default.model_type)
    coverage = "share of all characters that get a piece of their own (default: %(default)s)"
    add("--character-coverage", type=float, default=default.character_coverage, help=coverage)
    fallback = "spell other characters as bytes; plain fairseq leaves <0x..> in its output"
    add("--byte-fallback", action="store_true", help=fallback)
    sample = "training pairs shown to sentencepiece (default: %(default)s)"
    add("--spm-sample", type=int, default=default.spm_sample, metavar="PAIRS", help=sample)


def options_of(args: argparse.Namespace) -> Options:
    """The ``Options`` that the command line asks for."""
    return Options(**{name: getattr(args, name) for name in Options.__dataclass_fields__})


def run_sample(args: argparse.Namespace) -> None:
    """Make the sample corpus and prepare it."""
    from fairseq_memtx.ground.progress import Progress

    from . import sample
    from .corpus import find_parallel
    from .pipeline import Corpora, Preparation, locked, stamps_of

    options = options_of(args)
    check_folder(args.out, "--out")
    folder = args.out / "work" / "sample"
    documents = args.documents if args.documents is not None else sample.DEFAULT_DOCUMENTS
    limits = limits_of(args)
    made = {"seed": args.seed, "documents": documents, "version": sample.GENERATOR_VERSION}
    made |= limits.told
    langs = options.source_lang, options.target_lang
    splits, names = ("train", "valid", "test"), (*langs, "docid", "context")
    outputs = [folder / f"{split}.{name}" for split in splits for name in names]

    def work() -> dict[str, Any]:
        with Progress("sample", documents, unit="documents") as progress:
            return sample.generate(
                folder,
                args.seed,
                documents,
                lambda done: progress.add(done - progress.done),
                limits,
            )

    with locked(args.out):
        try:
            stamp = stamps_of(args.out).run("sample", made, outputs, work)
        except sample.SampleError as error:
            raise UserError(str(error)) from error
        train, valid, test = (find_parallel(folder / split, *langs) for split in splits)
        corpora = Corpora([train], valid, test)
        origin = {"sample": {**made, **stamp["result"]}}
        tell(Preparation(args.out, corpora, options, origin).run(), args.out)


def limits_of(args: argparse.Namespace) -> "Limits":
    """How small the sample's language is.

    Raises:
        UserError: for limits that it cannot have.
    """
    from . import sample

    given = {name: getattr(args, name) for name in ("longest", "few")}
    try:
        return sample.Limits(**{name: n for name, n in given.items() if n is not None})
    except sample.SampleError as error:
        raise UserError(str(error)) from error


def run_parallel(args: argparse.Namespace) -> None:
    """Prepare parallel text that lies in files."""
    from .corpus import SgmFiles, find_held_out, find_parallel
    from .pipeline import Corpora, Preparation, locked

    options = options_of(args)
    check_folder(args.out, "--out")
    langs = options.source_lang, options.target_lang
    held_out = []
    for split in ("valid", "test"):
        sgm = getattr(args, f"{split}_sgm")
        held_out.append(
            SgmFiles(split, *sgm) if sgm else find_held_out(getattr(args, split), *langs)
        )
    corpora = Corpora([find_parallel(prefix, *langs) for prefix in args.train], *held_out)
    with locked(args.out):
        tell(Preparation(args.out, corpora, options).run(), args.out)


def run_wmt14(args: argparse.Namespace) -> None:
    """Fetch, extract and prepare the official files."""
    from .download import Source
    from .manifest import MIRRORS
    from .pipeline import Preparation, locked
    from .wmt14 import fetch_corpora

    options = options_of(args)
    check_folder(args.out, "--out")
    folder = args.download_dir or args.out / "downloads"
    source = Source(folder, args.local_dir, args.mirror or MIRRORS)
    with locked(args.out):
        corpora, origin = fetch_corpora(args.out, source)
        tell(Preparation(args.out, corpora, options, origin).run(), args.out)


def run_programs(args: argparse.Namespace) -> None:
    """Make the algorithmic task: programs with the printed values as labels."""
    from fairseq_memtx.ground.layout import SPLITS

    from .labelled import outputs, write_labelled
    from .pipeline import locked, stamps_of
    from .programs import VALUES, VERSION, vocabulary, write_split

    check_programs(args)
    names = ("variables", "statements", "train_statements", "programs", "seed")
    told = {"version": VERSION, **{name: getattr(args, name) for name in names}}
    lengths = dict.fromkeys(SPLITS, args.statements)
    lengths["train"] = args.train_statements or args.statements

    def work() -> dict[str, Any]:
        splits = {
            split: write_split(split, count, args.variables, lengths[split], args.seed)
            for split, count in zip(SPLITS, args.programs, strict=True)
        }
        return write_labelled(
            args.out, splits, vocabulary(args.variables), VALUES, {"programs": told}
        )

    with locked(args.out):
        files = [*outputs(args.out, SPLITS), args.out / "prepared.json"]
        stamp = stamps_of(args.out).run("programs", told, files, work)
    for split, counts in stamp["result"].items():
        logger.info("%s: %s", split, ", ".join(f"{n:,} {what}" for what, n in counts.items()))
    logger.info("ready: `%s`", args.out / "bin")


def check_programs(args: argparse.Namespace) -> None:
    """Refuse sizes of which there can be no program.

    Raises:
        UserError: naming the flag.
    """
    from .programs import VARIABLES

    if not 1 <= args.variables <= len(VARIABLES):
        raise UserError(f"`--variables {args.variables}` is not in 1..{len(VARIABLES)}")
    sizes = (args.statements, *args.programs)
    if min(sizes) < 1 or (args.train_statements is not None and args.train_statements < 1):
        raise UserError(
            "`--statements`, `--train-statements` and each number of `--programs` is at least 1"
        )


def run_fetch(args: argparse.Namespace) -> None:
    """Get and check a public text."""
    from .fetch_texts import fetch_texts

    found = fetch_texts(args.name, args.out, args.local_dir)
    logger.info("ready: %d files of `%s` in `%s`", len(found), args.name, args.out)


def run_verify(args: argparse.Namespace) -> None:
    """Compare a prepared folder with its recorded checksums."""
    from .pipeline import verify

    differences = verify(args.out)
    if differences:
        raise UserError(
            f"the outputs are not those that were recorded: {'; '.join(differences)}. Prepare them"
            " again"
        )
    logger.info("`%s` is whole", args.out)


def tell(report: dict[str, Any], out: Path) -> None:
    """Log what was prepared."""
    for reason, count in report["dropped"].items():
        logger.info("dropped: %d pairs: %s", count, reason)
    logger.info("pairs: %s", ", ".join(f"{s} {n}" for s, n in report["pairs"].items()))
    logger.info("ready: `%s`, %d symbols", out / "bin", report["vocab_size"])


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run a command; returns the exit status (1: an error that was told, 130: interrupted)."""
    log_to_stderr("%(asctime)s %(levelname)s %(message)s")
    args = parse_args(argv, prog)
    words = argv if argv is not None else sys.argv[1:]
    logger.info("versions: %s", " ".join(f"{k}={v}" for k, v in versions().items()))
    logger.info("command: %s %s", prog, shlex.join(map(str, words)))
    logger.info("seed: %s", getattr(args, "seed", "none"))
    try:
        with terminable():
            args.run(args)
    except UserError as error:
        logger.error("%s", one_line(error))
        return 1
    except OSError as error:
        logger.error("%s", one_line(describe_os_error(error)))
        return 1
    except KeyboardInterrupt:
        logger.error("interrupted: run the same command again to go on")
        return 130
    return 0
