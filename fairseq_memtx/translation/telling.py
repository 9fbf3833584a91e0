"""Blocks of raw lines to lines of output, as `memtx translate` is told to write them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..ground.document_lines import Document
from ..ground.errors import UserError
from ..ground.text import read_lines
from . import formats

if TYPE_CHECKING:
    from ..translator import Translator
    from .results import Translation

IN_TABS = "tab"


class Telling:
    """Translates block after block.

    Args:
        translator: what translates.
        args: of the command: `format`, `attention`, `target_prefix`, `constraints`,
            `documents` and what goes with it, `gold` among that.
        done: lines of the input before the first block.

    Attributes:
        words: of the best translations so far.
    """

    def __init__(self, translator: Translator, args: argparse.Namespace, done: int) -> None:
        self.translator, self.args, self.words = translator, args, 0
        self._prefixes: LinesBeside | None = None
        if args.target_prefix not in ("", IN_TABS):
            self._prefixes = LinesBeside("target-prefix", args.target_prefix, done)
        self._gold = LinesBeside("gold", args.gold, done) if args.gold else None

    def lines(
        self, block: Sequence[Document], progress: Callable[[int], object], first: int
    ) -> list[str]:
        """The lines of output for a block of the input.

        Args:
            block: documents, or all lines of it as one.
            progress: called with the number of lines finished since the last time.
            first: the number of the first line, from 0.

        Raises:
            UserError: see `Translator.translate`; or there are fewer prefixes, or translations to
                remember, than lines.
        """
        if self.args.format == "text":
            return self._text(self._texts(block, progress, first))
        lines, found = self._found(block, progress, first)
        self.words += sum(len(translations[0].text.split()) for translations in found)
        if self.args.format == "columns":
            return list(formats.column_lines(found, first))
        return list(formats.json_lines(lines, found, first, self.args.attention))

    def _texts(
        self, block: Sequence[Document], progress: Callable[[int], object], first: int
    ) -> Iterable[str]:
        """The best translation of each line of a block."""
        if self.args.documents is not None:
            how = self._documents(block, progress, first)
            return chain.from_iterable(self.translator.translate_documents(block, **how))
        (lines,) = block
        texts, wishes = self._taken_apart(lines)
        return self.translator.translate(texts, progress, first=first, **wishes)

    def _found(
        self, block: Sequence[Document], progress: Callable[[int], object], first: int
    ) -> tuple[list[str], list[list[Translation]]]:
        """The sentences of a block, and of each its translations, best first."""
        if self.args.documents is not None:
            how = self._documents(block, progress, first)
            found = self.translator.nbest_documents(block, **how)
            return list(chain.from_iterable(block)), list(chain.from_iterable(found))
        (lines,) = block
        texts, wishes = self._taken_apart(lines)
        return texts, self.translator.nbest(texts, progress, first=first, **wishes)

    def _documents(
        self, block: Sequence[Document], progress: Callable[[int], object], first: int
    ) -> dict[str, Any]:
        """How the documents of a block are translated."""
        gold = None
        if self._gold is not None:
            gold = [self._gold.take(len(document)) for document in block]
        told = {"context": self.args.context, "lanes": self.args.lanes, "first": first}
        return {"gold": gold, "progress": progress, **told}

    def _text(self, texts: Iterable[str]) -> list[str]:
        lines = list(formats.text_lines(texts))
        self.words += sum(len(line.split()) for line in lines)
        return lines

    def finish(self) -> None:
        """Look whether every prefix, and every translation to remember, had its line.

        Raises:
            UserError: there are more of them than lines.
        """
        for beside in (self._prefixes, self._gold):
            if beside is not None:
                beside.finish()

    def _taken_apart(self, block: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """The sources of a block, and what is wanted of their translations."""
        if self._prefixes is not None:
            return list(block), {"prefixes": self._prefixes.take(len(block))}
        if self.args.constraints:
            fields = [line.split("\t") for line in block]
            return [some[0] for some in fields], {"constraints": [some[1:] for some in fields]}
        if self.args.target_prefix == IN_TABS:
            pairs = [line.partition("\t") for line in block]
            return [pair[0] for pair in pairs], {"prefixes": [pair[2] for pair in pairs]}
        return list(block), {}


class LinesBeside:
    """A file with a line for each line of the input.

    Args:
        flag: that names it.
        path: of the file.
        done: lines to leave out.
    """

    def __init__(self, flag: str, path: str, done: int) -> None:
        self._told = f"`--{flag} {path}`"
        self._lines = islice(_lines(Path(path)), done, None)

    def take(self, count: int) -> list[str]:
        """The next lines.

        Raises:
            UserError: there are not so many.
        """
        found = list(islice(self._lines, count))
        if len(found) < count:
            raise UserError(
                f"{self._told} has fewer lines than the input: it has to have one for each"
            )
        return found

    def finish(self) -> None:
        """Look whether it has ended.

        Raises:
            UserError: it has not.
        """
        if next(self._lines, None) is not None:
            raise UserError(
                f"{self._told} has more lines than the input: it has to have one for each"
            )


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        yield from read_lines(file, f"`{path}`")


def entries(file: BinaryIO, form: str) -> Iterator[bytes]:
    """What a file of this format holds of each line of the input that is surely whole in it.

    Of columns, the last line of the input is left out: more hypotheses may have been to come.
    """
    if form != "columns":
        for line in file:  # noqa: UP028  (`yield from` closes the file when it is left early)
            yield line
        return
    waiting: list[bytes] = []
    for _, lines in groupby(file, lambda line: line.partition(b"\t")[0]):
        yield from waiting
        waiting = [b"".join(lines)]
