"""The letters of shapes mean what `docs/shapes-and-words.md` says, in every module."""

import re

import pytest

from tests.checkout import CHECKOUT

PAGE = (CHECKOUT / "docs" / "shapes-and-words.md").read_text(encoding="utf-8")
MODULES = sorted((CHECKOUT / "fairseq_memtx").rglob("*.py"))


def table() -> dict[str, set[str]]:
    """The words of each letter's meaning."""
    found = {}
    for line in PAGE.split("\n"):
        row = re.fullmatch(r"\| (`[^|]+`) \| ([^|]+) \|", line)
        if row:
            words = set(re.findall(r"[a-z]+", row[2].lower()))
            found.update(dict.fromkeys(re.findall(r"`(\w+)`", row[1]), words))
    return found


def legend(source: str) -> list[tuple[str, str]]:
    """Letters and their meanings in a module's size legend."""
    match = re.search(
        r"^Size legend[^:]*:(.*?)(?:\n\n|\n?\"\"\")", source, re.DOTALL | re.MULTILINE
    )
    if match is None:
        return []
    parts = re.split(r"[,;]\s|\sand\s", " ".join(match[1].split()).rstrip("."))
    named = (re.match(r"(BH|[A-Z])\b(?: or \d)?\s*(.*)", part) for part in parts)
    return [(found[1], found[2]) for found in named if found]


def strangers(source: str) -> list[tuple[str, str]]:
    """What a legend says and the table does not; sizes told as `= B * H` are made of others."""
    meanings = table()
    return [
        (letter, meaning)
        for letter, meaning in legend(source)
        if letter not in meanings
        or not (
            re.match(r"(=.*)?$", meaning)
            or set(re.findall(r"[a-z]+", meaning.lower())) & meanings[letter]
        )
    ]


def test_every_legend_follows_the_table() -> None:
    found = {str(p.relative_to(CHECKOUT)): strangers(p.read_text("utf-8")) for p in MODULES}
    assert sum(bool(legend(p.read_text("utf-8"))) for p in MODULES) > 40
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("wrong", ["N compressed states", "X heads", "K beam"])
def test_a_letter_with_another_meaning_would_be_seen(wrong: str) -> None:
    assert strangers(f'"""A module.\n\nSize legend: B sentences, {wrong}, H heads.\n"""\n')
