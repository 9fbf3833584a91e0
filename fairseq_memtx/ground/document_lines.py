"""The documents of a text that is read line by line, and blocks of whole documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .errors import UserError
from .text import is_blank

#: The sentences of a document.
Document = list[str]


def split_at_blank_lines(lines: Iterable[str], first: int = 1) -> Iterator[Document]:
    """Documents between blank lines; those that follow a document are its own last lines."""
    document: Document = []
    ended = False
    for line in lines:
        blank = is_blank(line)
        if ended and not blank:
            yield document
            document = []
        ended = blank
        document.append(line)
    if document:
        yield document


def split_at_ids(lines: Iterable[str], first: int = 1) -> Iterator[Document]:
    """Documents of lines `ID<tab>SENTENCE`: equal ids in a row are one; without their ids.

    Args:
        lines: of the text.
        first: the number of the first of them, for messages.

    Raises:
        UserError: a line without a tab.
    """
    document: Document = []
    current: str | None = None
    for number, line in enumerate(lines, first):
        name, tab, sentence = line.partition("\t")
        if not tab:
            raise UserError(
                f"line {number} of the input has no tab: each line has to be a document's id, a tab"
                " and a sentence"
            )
        if document and name != current:
            yield document
            document = []
        current = name
        document.append(sentence)
    if document:
        yield document


#: By the choice of a command line: where documents end.
BOUNDARIES: dict[str, Callable[[Iterable[str], int], Iterator[Document]]] = {
    "blank": split_at_blank_lines,
    "ids": split_at_ids,
}


def in_blocks(documents: Iterable[Document], least: int) -> Iterator[list[Document]]:
    """Documents together until they have at least so many lines."""
    block: list[Document] = []
    for document in documents:
        block.append(document)
        if sum(map(len, block)) >= least:
            yield block
            block = []
    if block:
        yield block
