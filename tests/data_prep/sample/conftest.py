"""One small corpus for all tests that read files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from data_prep.sample import generate

DOCUMENTS = 400


@dataclass
class Split:
    """The files of a split as lists of lines."""

    en: list[str]
    de: list[str]
    docid: list[str]
    context: list[str]
    pronouns: list[str]


@dataclass
class Sample:
    """A generated corpus."""

    folder: Path
    statistics: dict
    splits: dict[str, Split]


def read_lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return text[:-1].split("\n")


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Sample:
    """400 documents of seed 5."""
    folder = tmp_path_factory.mktemp("sample")
    statistics = generate(folder, seed=5, documents=DOCUMENTS)
    suffixes = ("en", "de", "docid", "context", "pronouns")
    splits = {
        name: Split(*(read_lines(folder / f"{name}.{suffix}") for suffix in suffixes))
        for name in ("train", "valid", "test")
    }
    return Sample(folder, statistics, splits)
