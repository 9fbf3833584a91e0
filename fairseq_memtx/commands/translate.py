"""Translate a file or standard input: ``memtx translate CHECKPOINT < in > out``.

Raw text in, raw text out, a line for each line; or with ``--format`` all that the search knows: the
n-best, scores, alignments. Sentences are sorted by length for speed and given back in order, in
blocks of ``--block`` lines. With ``--output`` the file appears when it is whole; an interrupted
translation goes on where it stopped when the same command is given again.

With ``--documents`` each sentence is translated with the memory of those before it in its document;
a block then holds whole documents.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fairseq_memtx.commands import search_flags
from fairseq_memtx.folder.names import CONFIG
from fairseq_memtx.ground import command_line, cores, writing
from fairseq_memtx.ground.document_lines import BOUNDARIES, Document, in_blocks
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers, hash_of, sha256_of, write_json
from fairseq_memtx.ground.layout import SUBWORD_MODEL, told_in
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.text import TextSteps, read_lines
from fairseq_memtx.translation.telling import IN_TABS, Telling, entries

if TYPE_CHECKING:
    from fairseq_memtx.translator import Translator

logger = logging.getLogger(__name__)

#: Options of the search where neither the command line nor a folder has them.
USUAL = {"beam": 5, "lenpen": 1.0, "max_len_a": 1.2, "max_len_b": 10, "shortlist": ""}


def translate(args: argparse.Namespace) -> None:
    """Do what the command line asks for.

    Raises:
        UserError: where a file, a flag or the text cannot be used, or the model gives no numbers.
    """
    check(args)
    fill_in(args)
    share_out(args)
    try:
        if args.output is None:
            to_stream(args, sys.stdout.buffer)
        elif writing.is_stream(args.output):
            with atomic_writers(args.output) as (stream,):
                to_stream(args, stream)
        else:
            to_file(args)
    except OSError as error:
        where = str(error.filename or args.output or "standard output")
        told = command_line.describe_os_error(OSError(error.errno, error.strerror, where))
        raise UserError(told) from error


def to_stream(args: argparse.Namespace, target: BinaryIO) -> None:
    """Translate to standard output, a pipe or a device, as long as there is a reader.

    Raises:
        UserError: where the reader has gone before the end of the text.
        SystemExit: where the command is interrupted, which cannot go on later.
    """
    try:
        with open_input(args.input) as source:
            run(args, read_lines(source), target)
    except BrokenPipeError:
        # Python would write what is left when the file is closed, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())
        raise UserError("the reader of the translation has gone before its end") from None
    except KeyboardInterrupt:
        print("interrupted: only with `--output` can the same command go on", file=sys.stderr)
        raise SystemExit(command_line.INTERRUPTED) from None


def to_file(args: argparse.Namespace) -> None:
    """Translate to `--output`, on from where an earlier command stopped.

    Raises:
        UserError: where the input has become shorter meanwhile.
    """
    part = Partial(args.output, wanted(args), block_sizes(args), args.format)
    with part.open() as target, open_input(args.input) as source, part.kept_if_any(target):
        if part.lines:
            logger.info("%d lines are translated already", part.lines)
        lines = read_lines(source)
        if sum(1 for _ in islice(lines, part.lines)) < part.lines:
            raise UserError(
                f"`{args.input}` has fewer than the {part.lines} lines translated so far"
            )
        run(args, lines, target, part.lines)
        part.finish()  # while it is still locked


def run(args: argparse.Namespace, lines: Iterator[str], target: BinaryIO, done: int = 0) -> None:
    """Translate block by block; each block is written as a whole.

    Args:
        args: of the command.
        lines: what is still to translate.
        target: where to.
        done: lines of the text before it.

    Raises:
        UserError: see `translate`.
    """
    try:
        blocks = blocks_of(args, lines, done)
        translate_blocks(Telling(load(args), args, done), blocks, target, done)
    except FloatingPointError as error:
        raise UserError(str(error)) from error


def blocks_of(
    args: argparse.Namespace, lines: Iterator[str], done: int
) -> Iterator[list[Document]]:
    """The lines that are translated together, as documents; as one where there are none.

    Args:
        args: of the command.
        lines: what is still to translate.
        done: lines of the text before it.
    """
    if args.documents is not None:
        yield from in_blocks(BOUNDARIES[args.documents](lines, done + 1), args.block)
    else:
        while chunk := list(islice(lines, args.block)):
            yield [chunk]


def block_sizes(args: argparse.Namespace) -> Iterator[int]:
    """The number of lines of each block of the input."""
    if args.documents is None:
        yield from repeat(args.block)
    with open_input(args.input) as source:
        for block in blocks_of(args, read_lines(source), 0):
            yield sum(map(len, block))


def translate_blocks(
    telling: Telling, blocks: Iterator[list[Document]], target: BinaryIO, done: int
) -> None:
    """The work of `run`, and the speed of it in the log."""
    started, count = time.perf_counter(), 0
    with Progress("translate", unit="lines") as progress:
        for block in blocks:
            write_block(target, telling.lines(block, progress.add, first=done + count))
            count += sum(map(len, block))
    telling.finish()
    words = telling.words
    seconds = max(1e-9, time.perf_counter() - started)
    logger.info(
        "%d lines, %d words in %.1f s: %.1f words/s", count, words, seconds, words / seconds
    )


def write_block(target: BinaryIO, lines: Sequence[str]) -> None:
    """Write the lines of output for a block."""
    target.write("".join(f"{line}\n" for line in lines).encode())
    target.flush()


class Partial:
    """The file that grows while ``output`` is not whole, and the note of what it is made from.

    Args:
        output: the file in the end.
        inputs: all that the translation depends on.
        sizes: the number of lines of each block, which are translated together.
        form: the format of the output.

    Attributes:
        lines: that are translated already, once it is open.
    """

    def __init__(
        self, output: Path, inputs: dict[str, Any], sizes: Iterable[int], form: str = "text"
    ) -> None:
        self.output, self.sizes, self.form = output, sizes, form
        self.inputs = {"inputs": hash_of(inputs)}
        self.path = output.with_name(output.name + ".part")
        self.note = output.with_name(output.name + ".part.json")
        self.lines = 0

    def open(self) -> BinaryIO:
        """Open and lock it, at the end of its last whole block, or anew if it was made from
        something else.

        Blocks, not lines: those of a block are translated in batches of each other, so that half
        a block would go on with other batches than it began with.

        Raises:
            UserError: another command writes the same output.
        """
        busy = (f"`--output {self.output}` is being written by another translation: wait for it,"
                " or name another file")  # fmt: skip
        file = writing.open_locked(self.path, busy)
        size = 0
        if self._is_same():
            self.lines, size = whole_blocks(file, self.sizes, self.form)
        file.truncate(size)
        if self.lines == 0:
            write_json(self.note, self.inputs)
        return file

    def _is_same(self) -> bool:
        """Whether it was made from the same."""
        try:
            return json.loads(self.note.read_bytes()) == self.inputs
        except (OSError, ValueError):
            return False

    @contextmanager
    def kept_if_any(self, target: BinaryIO) -> Iterator[None]:
        """Leave nothing behind where an error comes before the first block is written."""
        try:
            yield
        except UserError:
            if os.fstat(target.fileno()).st_size == 0:
                self.path.unlink(missing_ok=True)
                self.note.unlink(missing_ok=True)
            raise

    def finish(self) -> None:
        """Give the whole file its name."""
        writing.publish_growing(self.path, self.output)
        self.note.unlink()


def whole_blocks(file: BinaryIO, sizes: Iterable[int], form: str = "text") -> tuple[int, int]:
    """Lines of the input and bytes of the whole blocks of these sizes that a file of this format
    begins with.
    """
    file.seek(0)
    lines, size, whole = 0, 0, (0, 0)
    coming = iter(sizes)
    end = next(coming, None)
    for entry in entries(file, form):
        if not entry.endswith(b"\n"):
            break
        lines, size = lines + 1, size + len(entry)
        if lines == end:
            whole = lines, size
            following = next(coming, None)
            end = None if following is None else end + following
    return whole


def wanted(args: argparse.Namespace) -> dict[str, Any]:
    """All that the translation depends on."""
    speed = ("input", "output", "checkpoint", "data", "device", "threads", "generator", "lanes",
             "workers")  # fmt: skip
    return {
        "input": sha256_of(args.input),
        "models": [sha256_of(told_by(path)) for path in args.checkpoint],
        **{name: value for name, value in vars(args).items() if name not in speed},
        "shortlist": sha256_of(Path(args.shortlist)) if args.shortlist else "",
        "prefixes": [sha256_of(path) for path in prefix_file(args)],
        "gold": [sha256_of(path) for path in gold_file(args)],
        "data": [] if args.data is None else list(map(sha256_of, told_of(args.data))),
    }


def told_by(model: Path) -> Path:
    """The file that stands for a model: of a folder the configuration, which has all hashes."""
    return model / CONFIG if model.is_dir() else model


def fill_in(args: argparse.Namespace) -> None:
    """Give options of the search that the command line leaves open the folder's, or the usual.

    Raises:
        UserError: where the folder is unusable.
    """
    folder: dict[str, Any] = {}
    if args.checkpoint[0].is_dir():
        from fairseq_memtx.folder.loading import default_search

        folder = asdict(default_search(args.checkpoint[0]))
    for name, usual in USUAL.items():
        if getattr(args, name) is None:
            setattr(args, name, folder.get(name, usual))


def prefix_file(args: argparse.Namespace) -> list[Path]:
    """The file of the translations' beginnings, where there is one."""
    return [] if args.target_prefix in ("", IN_TABS) else [Path(args.target_prefix)]


def gold_file(args: argparse.Namespace) -> list[Path]:
    """The file of the translations to remember, where there is one."""
    return [Path(args.gold)] if args.gold else []


def told_of(data: Path) -> list[Path]:
    """The files of a data folder that a translation depends on."""
    found = [*sorted(data.glob("dict.*.txt")), data / SUBWORD_MODEL]
    return [path for path in found if path.is_file()] + told_in(data)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything slow is done."""
    if args.output is not None and args.input is None:
        raise UserError(
            "`--output` needs `--input`: a pipe cannot be resumed, so write its translation with"
            " `>`"
        )
    for path in args.checkpoint:
        if not path.is_file() and not path.is_dir():
            raise UserError(f"there is no checkpoint `{path}`: check the path")
    if args.input is not None and (not args.input.exists() or args.input.is_dir()):
        raise UserError(f"there is no file `--input {args.input}`: name a text file")
    if args.shortlist and not Path(args.shortlist).is_file():
        raise UserError(
            f"there is no file `--shortlist {args.shortlist}`: `memtx shortlist` makes one"
        )
    search_flags.check_documents(args, context=-1, lanes=0)
    check_gold(args)
    search_flags.refuse_contradictions(args)
    if args.output is not None:
        shortlist = [Path(args.shortlist)] if args.shortlist else []
        beside = [*prefix_file(args), *gold_file(args)]
        inputs = [args.input, *args.checkpoint, *shortlist, *beside]
        writing.check_output(args.output, "--output", inputs)
        if not args.input.is_file() and not writing.is_stream(args.output):  # it is read twice
            raise UserError(
                f"`--input {args.input}` is a pipe: with `--output` it has to be a file"
            )


def check_gold(args: argparse.Namespace) -> None:
    """Refuse translations to remember where there is nothing that remembers, or no such file."""
    if args.documents is None and args.gold:
        raise UserError("`--gold` does nothing without `--documents`: give both or neither")
    for path in gold_file(args):
        if not path.is_file():
            raise UserError(f"there is no file `--gold {path}`: name one with a translation a line")


def share_out(args: argparse.Namespace) -> None:
    """Say how many threads and processes compute, where the command line leaves it open.

    What PyTorch searches of a file is spread over processes of one thread, one for each core: its
    threads gain less. Those of the native engine gain as much, and share more.
    """
    if args.threads is None:
        args.threads = 1 if args.workers else cores.default_threads()
        if args.workers is None and args.threads > 1 and gains_by_processes(args):
            args.workers, args.threads = args.threads, 1


def gains_by_processes(args: argparse.Namespace) -> bool:
    """Whether it is a file that PyTorch searches, line by line, on a CPU."""
    whole_file = args.input is not None and args.input.is_file()
    if not whole_file or args.documents is not None or args.device != "cpu":
        return False
    from fairseq_memtx.native import searches

    return args.generator != "fast" or args.native == "off" or not searches.is_usable()


def load(args: argparse.Namespace) -> Translator:
    """The translator that the command line describes."""
    import torch

    from fairseq_memtx.translator import SearchSettings, Translator

    torch.set_num_threads(args.threads)
    steps = None if args.tokenizer is None else TextSteps(args.tokenizer)
    chosen = {field.name: getattr(args, field.name) for field in fields(SearchSettings)}
    chosen |= {"alignment": args.alignment or args.attention, "workers": args.workers or 1}
    search = SearchSettings(**chosen)
    return Translator.from_pretrained(
        args.checkpoint, args.data, search, args.device, args.half, args.int8, steps
    )


def open_input(path: Path | None) -> BinaryIO:
    """The file, or standard input."""
    return sys.stdin.buffer if path is None else path.open("rb")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx translate``."""
    whole = command_line.positive_int
    parser = argparse.ArgumentParser(prog="memtx translate", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("checkpoint", type=lambda names: [Path(name) for name in names.split(":")],
        help="model or exported folder, or several of an ensemble separated by colons")  # fmt: skip
    add("--data", type=Path, help="folder of the binarised data (default: as in training)")
    add("--input", type=Path, help="text, a sentence a line (default: standard input)")
    add("--output", type=Path, help="where to (default: standard output)")
    add("--beam", type=whole, help="hypotheses side by side (default: a folder's own, or 5)")
    add("--lenpen", type=float, help="above 1, longer ones win more often")
    add("--max-len-a", type=float, help="subwords for each one of the source, and")
    add("--max-len-b", type=whole, help="so many more, are the longest translation")
    add("--batch-size", type=whole, default=64, help="sentences at once")
    add("--max-tokens", type=whole, default=4000, help="source subwords at once")
    add("--block", type=whole, default=2000, help="lines sorted together; 1 for a dialogue")
    search_flags.add_documents(parser)
    add("--lanes", type=int, default=0, metavar="N",
        help="documents that are open at once (default: as many as keep padding low)")  # fmt: skip
    add("--gold", default="", metavar="FILE",
        help="translations to remember in place of ours, a line for each line, to analyse what a"
        " memory is worth")  # fmt: skip
    add("--tokenizer", choices=("none", "moses"), help="default: as the data was prepared")
    add("--device", default="cpu", help="cpu or cuda")
    add("--generator", choices=("fast", "cuda-graphs", "fairseq"), default="fast",
        help="how it is searched; all find the same; fairseq has more, see below")  # fmt: skip
    add("--int8", action="store_true", help="weights in eight bits; CPU only")
    add("--shortlist",
        help="file of `memtx shortlist`: likely words alone (default: a folder's)")  # fmt: skip
    add("--native", choices=("on", "off"), default="on",
        help="search by the native engine where it can, on a CPU")  # fmt: skip
    add("--half", action="store_true", help="half precision")
    add("--threads", type=cores.thread_count,
        help="default: OMP_NUM_THREADS, or what the process may use")  # fmt: skip
    search_flags.add_flags(parser, whole)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx translate``."""
    args = parse_args(argv)
    return command_line.run(lambda: translate(args))
