"""The lines of documents as what is translated of them, and what was found put into lines again.

A blank line has nothing to translate and a long one is several parts, which follow each other like
the sentences of the document.
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ..modules.lanes import Documents
from .parts import Numbers
from .results import Translation, joined


class DocumentText:
    """Documents to translate.

    Args:
        texts: the lines of each document.
        gold: translations to remember in place of ours, of the same shape; None for none.
        encode: makes the parts of a line, whose number in the whole text it is told.
        encode_gold: makes a translation of it.
        first: the number of the first line.

    Attributes:
        sources: the parts of all lines.
        gold: for each part the translation to remember, or None.
        documents: their parts, without documents that have none.
        num_blank: lines without parts.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[str]],
        gold: Sequence[Sequence[str]] | None,
        encode: Callable[[str, int], list[Numbers]],
        encode_gold: Callable[[str], Tensor],
        first: int = 0,
    ):
        self.sources: list[Numbers] = []
        self.gold: list[Tensor | None] = []
        self._place: list[tuple[int, int]] = []  # document and line of each part
        self._open: dict[tuple[int, int], int] = {}
        self._found: dict[tuple[int, int], list[list[Translation]]] = {}
        self._sizes = list(map(len, texts))
        self.num_blank = 0
        sizes, number = [], first
        for document, lines in enumerate(texts):
            before = len(self.sources)
            for line, text in enumerate(lines):
                told = None if gold is None else gold[document][line]
                self._add_line((document, line), encode(text, number), told, encode_gold)
                number += 1
            sizes.append(len(self.sources) - before)
        self.documents = Documents.of_sizes([size for size in sizes if size > 0])

    def _add_line(
        self,
        place: tuple[int, int],
        parts: list[Numbers],
        gold: str | None,
        encode_gold: Callable[[str], Tensor],
    ) -> None:
        self.sources += parts
        self._place += [place] * len(parts)
        told = gold is not None and gold.strip() != "" and len(parts) == 1
        self.gold += [encode_gold(gold) if told and gold is not None else None] * len(parts)
        self.num_blank += not parts
        self._open[place], self._found[place] = len(parts), []

    @property
    def lengths(self) -> np.ndarray:
        """Subwords of each part, with the end symbol."""
        return np.array([len(part.ids) + 1 for part in self.sources], dtype=np.int64)

    def add(self, part: int, found: list[Translation]) -> int:
        """Take the translations of a part, best first, after those of the parts before it; how many
        lines that finishes.
        """
        place = self._place[part]
        self._found[place].append(found)
        self._open[place] -= 1
        return int(self._open[place] == 0)

    def translations(self) -> list[list[list[Translation]]]:
        """Of each document and each of its lines the translations, best first."""
        return [
            [joined(self._found[document, line]) for line in range(size)]
            for document, size in enumerate(self._sizes)
        ]
