"""The flags of `memtx translate` for what is told of a translation and how it is searched for.

`memtx explain` has those of documents too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from fairseq_memtx.ground.document_lines import BOUNDARIES
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translation import formats
from fairseq_memtx.translation.telling import IN_TABS


def refuse_contradictions(args: argparse.Namespace) -> None:
    """Refuse flags that do nothing or exclude each other.

    Raises:
        UserError: for the first of them.
    """
    plain = args.format == "text"
    others = "`--format columns` or `--format jsonl`"
    reasons = (
        (plain and args.nbest > 1,
         f"`--nbest {args.nbest}` needs {others}: plain text has one line for each line"),
        (plain and args.alignment, f"`--alignment` needs {others}: plain text has none"),
        (args.attention and args.format != "jsonl", "`--attention` needs `--format jsonl`"),
        (args.target_prefix and args.constraints,
         "`--target-prefix` and `--constraints` exclude each other: leave one out"),
        (args.workers and (args.threads or 1) > 1,
         f"`--threads {args.threads}` and `--workers` exclude each other, since a worker has one"
         " thread: leave one out"),
        (args.target_prefix not in ("", IN_TABS) and not Path(args.target_prefix).is_file(),
         f"there is no file `--target-prefix {args.target_prefix}`: name one, or `{IN_TABS}`"),
    )  # fmt: skip
    wishes = [name for name in ("target_prefix", "constraints", "workers") if getattr(args, name)]
    if args.documents is not None and wishes:
        flag = f"--{wishes[0]}".replace("_", "-")
        raise UserError(f"`--documents` and `{flag}` exclude each other: leave one out")
    for wrong, reason in reasons:
        if wrong:
            raise UserError(reason)


def check_documents(args: argparse.Namespace, **defaults: int) -> None:
    """Refuse flags that say how documents are translated where there are none.

    Args:
        args: of the command.
        defaults: of these flags; each is the least that it can be.

    Raises:
        UserError: for the first of them.
    """
    for name, default in defaults.items():
        value = getattr(args, name)
        if args.documents is None and value != default:
            raise UserError(f"`--{name}` does nothing without `--documents`: give both or neither")
        if value < default:
            raise UserError(f"`--{name}` is {value}: it has to be at least {default}")


def add_documents(parser: argparse.ArgumentParser) -> None:
    """The flags of where documents end, and of what their sentences remember."""
    add = parser.add_argument
    add("--documents", choices=tuple(BOUNDARIES),
        help="translate documents with memory: blank lines end them, or lines are ID<tab>SENTENCE"
        " (ids)")  # fmt: skip
    add("--context", type=int, default=-1, metavar="N",
        help="sentences before a sentence that its memory is made of (default: all)")  # fmt: skip


def add_flags(parser: argparse.ArgumentParser, whole: Callable[[str], int]) -> None:
    """The flags of what is told, how it is searched for, and by how many.

    Args:
        parser: of the command.
        whole: the type of a whole number of at least 1.
    """
    add = parser.add_argument_group("what is told").add_argument
    told = "; ".join(f"{name}: {what}" for name, what in formats.FORMATS.items())
    add("--format", choices=tuple(formats.FORMATS), default="text", help=f"{told} (default: text)")
    add("--nbest", type=whole, default=1, help="translations of each line, best first")
    add("--alignment", action="store_true",
        help="which source subword, and word, each of the translation attends to most")  # fmt: skip
    add("--attention", action="store_true", help="in jsonl, all of the attention to the source")
    add = parser.add_argument_group("what is wanted of a translation").add_argument
    add("--target-prefix", default="", metavar=f"FILE|{IN_TABS}",
        help="file with the beginning of each translation, a line for each line; or"
        f" `{IN_TABS}`: it follows a tab in the line")  # fmt: skip
    add("--constraints", choices=("ordered", "unordered"), default="",
        help="words or phrases that follow tabs in a line have to be in its translation, in their"
        " order or in any; needs --generator fairseq")  # fmt: skip
    _add_other_searches(parser, whole)
    add = parser.add_argument_group("processes").add_argument
    add("--workers", type=whole, metavar="N",
        help="processes of one thread that share the weights (default: for a file that the native"
        " engine does not search, one for each core; else 1 with --threads threads)")  # fmt: skip


def _add_other_searches(parser: argparse.ArgumentParser, whole: Callable[[str], int]) -> None:
    title = "other searches, which need --generator fairseq and exclude each other"
    add = parser.add_argument_group(title).add_argument
    add("--sampling", action="store_true", help="draw the words of --beam translations")
    add("--sampling-topk", type=whole, default=0, help="from so many of the likeliest words")
    add("--sampling-topp", type=float, default=0.0, help="from those that have this probability")
    add("--diverse-beam-groups", type=whole, default=0, help="groups of the beam that keep apart")
    add("--diverse-beam-strength", type=float, default=0.5, help="how much they do (default: 0.5)")
    add("--diversity-rate", type=float, default=0.0, help="what siblings in the beam pay")
    add("--seed", type=int, default=1, help="of what is drawn (default: 1)")
    add("--temperature", type=float, default=1.0,
        help="that the model's outputs are divided by; for all searches")  # fmt: skip
