"""What a caller wants of translations: how they begin, which words they have."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..ground.errors import UserError
from ..ground.text import UNKNOWN
from .parts import Numbers, Part, numbers
from .settings import SearchSettings

logger = logging.getLogger(__name__)

Asked = list[list[Part]]


class Wishes:
    """Reads wishes line by line.

    Args:
        pieces: the subwords of a text in the target's language.
        dictionary: of the target.
        search: the settings.
        most: subwords that the models can make.
    """

    def __init__(self, pieces: Callable[[str], list[str]], dictionary: Any,
                 search: SearchSettings, most: int):  # fmt: skip
        self._pieces, self._dictionary = pieces, dictionary
        self._search, self._most = search, most

    def added(
        self,
        asked: Asked,
        first: int,
        prefixes: Iterable[str] | None,
        constraints: Iterable[Sequence[str]] | None,
    ) -> Asked:
        """The parts of all lines with what is wanted of them.

        Args:
            asked: of each line the parts that are translated.
            first: the number of the first line, from 0.
            prefixes, constraints: see `Translator.translate`.

        Raises:
            UserError: for wishes that cannot be kept to, with the line's number.
        """
        if prefixes is None and constraints is None:
            return asked
        if prefixes is not None and constraints is not None:
            raise UserError("`prefixes` and `constraints` exclude each other: leave one out")
        if prefixes is not None:
            texts = _one_each(prefixes, asked, "prefixes")
            return [
                self._begun(parts, prefix, number)
                for number, (parts, prefix) in enumerate(zip(asked, texts, strict=True), first)
            ]
        if not self._search.constraints:
            raise UserError(
                "constraints need the setting `constraints`, ordered or unordered, when the model"
                " is loaded"
            )
        lists = _one_each(constraints or (), asked, "constraints")
        return [
            self._constrained(parts, words, number)
            for number, (parts, words) in enumerate(zip(asked, lists, strict=True), first)
        ]

    def _begun(self, parts: list[Part], prefix: str, line: int) -> list[Part]:
        """A line's parts, the first of them with the prefix."""
        found = self._numbers(prefix, line, "prefix")
        if not found.ids:
            return parts
        _refuse_blank(parts, line, "prefix")
        self._refuse_long(parts[0], "prefix", "has", len(found.ids))
        return [parts[0]._replace(prefix=found), *parts[1:]]

    def _constrained(self, parts: list[Part], words: Sequence[str], line: int) -> list[Part]:
        """A line's only part with its constraints."""
        if isinstance(words, str):
            raise UserError(f"the constraints of line {line + 1} are one text: give a list")
        found = [self._numbers(word, line, "constraint") for word in words]
        found = [one for one in found if one.ids]
        if not found:
            return parts
        _refuse_blank(parts, line, "constraint")
        if len(parts) > 1:
            raise UserError(
                f"line {line + 1} is too long for the model and would be translated in"
                f" {len(parts)} parts, which cannot have constraints: leave them out there"
            )
        self._refuse_long(parts[0], "constraints", "have", sum(len(one.ids) for one in found))
        return [parts[0]._replace(constraints=found)]

    def _refuse_long(self, part: Part, what: str, has: str, count: int) -> None:
        """Refuse what has more subwords than its translation may have."""
        search, source = self._search, len(part.source.ids) + 1  # the end symbol
        most = min(int(search.max_len_a * source + search.max_len_b), self._most - 1)
        if count > most:
            raise UserError(
                f"the {what} of line {part.line + 1} {has} {count} subwords, but its translation"
                f" may have {most}: allow more with `max_len_a` and `max_len_b`"
            )

    def _numbers(self, text: str, line: int, what: str) -> Numbers:
        if not isinstance(text, str):
            raise UserError(
                f"the {what} of line {line + 1} is a {type(text).__name__}: it has to be text (str)"
            )
        found = numbers(self._pieces(text), self._dictionary)
        if self._dictionary.unk() in found.ids:
            logger.warning("line %d: the %s has subwords that the model does not know, and shows"
                           " them as %s", line + 1, what, UNKNOWN)  # fmt: skip
        return found


def _refuse_blank(parts: list[Part], line: int, what: str) -> None:
    if not parts:
        raise UserError(f"line {line + 1} is blank: leave out its {what}")


def _one_each(wishes: Iterable[Any], asked: Asked, name: str) -> list[Any]:
    """The wishes as a list as long as the lines."""
    found = None if isinstance(wishes, str | bytes) else list(wishes)
    if found is None or len(found) != len(asked):
        counted = "a single text" if found is None else f"a list of {len(found)}"
        raise UserError(f"`{name}` is {counted}: it needs one for each of the {len(asked)} lines")
    return found
