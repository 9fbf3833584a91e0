"""What may be asked over HTTP, and how it is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..translation.results import Translation
from .batching import Wish
from .limits import RequestLimits


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        code: a word for programs.
        message: a line for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def told(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def invalid(message: str) -> RefusedError:
    """The refusal of what makes no sense."""
    return RefusedError(400, "invalid", message)


@dataclass(frozen=True)
class Asked:
    """A request for translations, checked."""

    model: str | None
    lines: list[str]
    wish: Wish


#: Of each field of the search: its type in JSON, as a sentence has it.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "beam": ((int,), "a whole number"),
    "nbest": ((int,), "a whole number"),
    "lenpen": ((int, float), "a number"),
    "alignment": ((bool,), "true or false"),
}


def asked(body: bytes, limits: RequestLimits) -> Asked:
    """What the JSON of a request asks for.

    Raises:
        RefusedError: for what is no such request, or too much.
    """
    content = _object(body)
    unknown = sorted(set(content) - {"model", "lines", *_KINDS})
    if unknown:
        raise invalid(f"`{unknown[0]}` is not known: there are model, lines, {', '.join(_KINDS)}")
    model = content.get("model")
    if model is not None and not isinstance(model, str):
        raise invalid("`model` has to be the name of a model")
    return Asked(model, checked_lines(content.get("lines"), limits), wish(content, limits))


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise invalid("the body is not JSON") from error
    if not isinstance(content, dict):
        raise invalid("the body has to be an object")
    return content


def checked_lines(lines: Any, limits: RequestLimits) -> list[str]:
    """Lines of text within the limits.

    Raises:
        RefusedError: for what is none, or too much.
    """
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise invalid("`lines` has to be a list of texts")
    if len(lines) > limits.lines:
        raise invalid(f"there are {len(lines)} lines: a request may have {limits.lines}")
    for number, line in enumerate(lines, 1):
        if len(line) > limits.characters:
            raise invalid(
                f"line {number} has {len(line)} characters: it may have {limits.characters}"
            )
        if any("\ud800" <= sign <= "\udfff" for sign in line):
            raise invalid(f"line {number} has half a surrogate pair, which is no text")
    return lines


def wish(content: Mapping[str, Any], limits: RequestLimits) -> Wish:
    """The search that is asked for.

    Raises:
        RefusedError: for values that are impossible.
    """
    values = {name: content[name] for name in _KINDS if name in content}
    for name, value in values.items():
        kinds, told = _KINDS[name]
        if not isinstance(value, kinds) or (bool not in kinds and isinstance(value, bool)):
            raise invalid(f"`{name}` has to be {told}")
    made = Wish(**values)
    if not 1 <= made.beam <= limits.beam:
        raise invalid(f"`beam` is {made.beam}: it has to be from 1 to {limits.beam}")
    if not 1 <= made.nbest <= made.beam:
        raise invalid(f"`nbest` is {made.nbest}: it has to be from 1 to `beam`, {made.beam}")
    if not -10 <= made.lenpen <= 10:  # never of NaN
        raise invalid(f"`lenpen` is {made.lenpen}: it has to be from -10 to 10")
    return made


def told(one: Translation) -> dict[str, Any]:
    """A translation for JSON; scores are natural logarithms."""
    found: dict[str, Any] = {
        "text": one.text,
        "score": round(one.score, 6),
        "subwords": list(one.subwords),
        "subword_scores": [round(score, 6) for score in one.subword_scores],
    }
    if one.alignment is not None:
        found["alignment"] = [list(pair) for pair in one.alignment]
        found["word_alignment"] = [list(pair) for pair in one.word_alignment or ()]
    return found
