"""From tokens to a line of text: commas, capitals, spaces."""

from __future__ import annotations

from .lexicon.nouns import Noun

COMMA = ","

Tokens = list[str]


class Referring(str):
    """A German token that is a form of er, sie or es for an English *it*.

    It carries what the pronoun record needs; it is otherwise an ordinary string.
    """

    noun: Noun
    case: str
    distance: int

    @classmethod
    def make(cls, form: str, noun: Noun, case: str, distance: int) -> Referring:
        token = cls(form)
        token.noun, token.case, token.distance = noun, case, distance
        return token


def capitalised(word: str) -> str:
    """First letter large, the rest as it is."""
    return word[:1].upper() + word[1:]


def write(tokens: Tokens, end: str) -> tuple[str, list[tuple[int, Referring]]]:
    """One line, and the word positions (from 0) of the referring pronouns in it.

    Commas stick to the word before; double commas and commas at either edge go.
    """
    words: list[str] = []
    referring: list[tuple[int, Referring]] = []
    for token in tokens:
        if token != COMMA:
            if isinstance(token, Referring):
                referring.append((len(words), token))
            words.extend(token.split(" "))
        elif words and not words[-1].endswith(COMMA):
            words[-1] += COMMA
    words[-1] = words[-1].rstrip(COMMA) + end
    words[0] = capitalised(words[0])
    return " ".join(words), referring
