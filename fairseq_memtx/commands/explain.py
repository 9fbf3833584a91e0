"""A page that shows what a model attends to while it translates.

``memtx explain MODEL "A sentence." --out page.html``

One HTML file that needs no network and no server: the translations with the scores of their
subwords and, for the chosen one, the attention to the source and to the past, memories included.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx.commands import search_flags
from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground import command_line, cores, writing
from fairseq_memtx.ground.document_lines import BOUNDARIES
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from fairseq_memtx.ground.text import TextSteps

if TYPE_CHECKING:
    from fairseq_memtx.translator import SearchSettings

logger = logging.getLogger(__name__)


def explain(args: argparse.Namespace) -> None:
    """Do what the command line asks for.

    Raises:
        UserError: where a file, a flag or the text cannot be used, or the model gives no numbers.
    """
    inputs = [args.checkpoint] if args.input is None else [args.checkpoint, args.input]
    if not args.checkpoint.is_file() and not args.checkpoint.is_dir():
        raise UserError(f"there is no checkpoint `{args.checkpoint}`: check the path")
    search_flags.check_documents(args, context=-1)
    writing.check_output(args.out, "--out", inputs)
    page = page_of(args, lines_of(args)).encode()
    with command_line.writing(args.out):
        write_bytes(args.out, page)
    logger.info("`%s`: %.1f kB, open it in a browser", args.out, len(page) / 1e3)


def lines_of(args: argparse.Namespace) -> list[str]:
    """The sentences of the command line or of the file.

    Raises:
        UserError: for both or neither.
    """
    if args.sentence and args.input is not None:
        raise UserError("a sentence and `--input` exclude each other: leave one out")
    if not args.sentence and args.input is None:
        raise UserError("there is no sentence to explain: give one in quotes, or `--input`")
    return args.sentence if args.input is None else read_lines(args.input)


def page_of(args: argparse.Namespace, lines: Sequence[str]) -> str:
    """The page of these sentences.

    Raises:
        UserError: see `explain`.
    """
    import torch

    from fairseq_memtx.explain.documents import explained_documents
    from fairseq_memtx.explain.page import html_of
    from fairseq_memtx.explain.views import explained, refuse_number
    from fairseq_memtx.translator import Translator

    refuse_number(sum(1 for line in lines if line.strip()))
    torch.set_num_threads(args.threads)
    steps = None if args.tokenizer is None else TextSteps(args.tokenizer)
    try:
        translator = Translator.from_pretrained(
            args.checkpoint, args.data, search_of(args), args.device, steps=steps
        )
        if args.documents is None:
            return html_of(explained(translator, lines, args.checkpoint.name))
        documents = BOUNDARIES[args.documents](lines, 1)
        name, context = args.checkpoint.name, args.context
        return html_of(explained_documents(translator, documents, name, context))
    except FloatingPointError as error:
        raise UserError(str(error)) from error


def search_of(args: argparse.Namespace) -> SearchSettings:
    """The search: what the command line does not say is the folder's, or the usual.

    Raises:
        UserError: where the folder is unusable, or a value impossible.
    """
    from fairseq_memtx.translation.loading import usual_search

    own = usual_search(args.checkpoint)
    names = ("beam", "lenpen", "max_len_a", "max_len_b")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return replace(own, nbest=args.nbest or min(3, args.beam or own.beam), **given)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx explain``."""
    whole = command_line.positive_int
    parser = argparse.ArgumentParser(prog="memtx explain", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("checkpoint", type=Path, help="the model, or an exported folder")
    add("sentence", nargs="*", help="raw text in quotes, one or several")
    add("--out", type=Path, required=True, help="HTML file to write")
    add("--input", type=Path, help="text in place of sentences, one a line, 50 at most")
    search_flags.add_documents(parser)
    add("--data", type=Path, help="folder of the binarised data (default: as in training)")
    add("--beam", type=whole, help="hypotheses side by side (default: a folder's own, or 5)")
    add("--nbest", type=whole, help="translations of each sentence (default: 3)")
    add("--lenpen", type=float, help="above 1, longer ones win more often")
    add("--max-len-a", type=float, help="subwords for each one of the source, and")
    add("--max-len-b", type=whole, help="so many more, are the longest translation")
    add("--tokenizer", choices=("none", "moses"), help="default: as the data was prepared")
    add("--device", default="cpu", help="cpu or cuda")
    add("--threads", type=cores.thread_count, default=cores.default_threads(),
        help="default: OMP_NUM_THREADS, or what the process may use")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx explain``."""
    args = parse_args(argv)
    return command_line.run(lambda: explain(args))
