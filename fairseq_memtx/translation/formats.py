"""Translations as lines of output: text, columns or JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence

from .results import Pairs, Translation

#: What `--format` takes.
FORMATS = {
    "text": "the best translation, a line for each line",
    "columns": "a line for each hypothesis, tab-separated: number of the line, rank, score, text,"
    " subwords, their scores and, with --alignment, that of subwords and of words",
    "jsonl": "a JSON object for each line",
}
DIGITS = 6  # after the point


def text_lines(texts: Iterable[str]) -> Iterator[str]:
    """Translations that are one line each, whatever the model made."""
    for text in texts:
        yield " ".join(text.split("\n"))


def column_lines(found: Iterable[Sequence[Translation]], first: int) -> Iterator[str]:
    """A line for each hypothesis.

    Args:
        found: for each line its hypotheses, best first.
        first: the number of the first line, from 0; the column counts from 1, as the rank does.
    """
    for number, translations in enumerate(found, first + 1):
        for rank, translation in enumerate(translations, 1):
            yield "\t".join(map(str, [number, rank, *_columns(translation)]))


def _columns(translation: Translation) -> Iterator[str]:
    yield fixed(translation.score)
    yield " ".join(translation.text.replace("\t", "\n").split("\n"))
    yield " ".join(translation.subwords)
    yield " ".join(map(fixed, translation.subword_scores))
    if translation.alignment is not None:
        yield pharaoh(translation.alignment)
        yield pharaoh(translation.word_alignment or ())


def json_lines(
    sources: Iterable[str], found: Iterable[Sequence[Translation]], first: int, attention: bool
) -> Iterator[str]:
    """An object for each line.

    Args:
        sources: the lines.
        found: for each line its hypotheses, best first.
        first: the number of the first line, from 0; in the objects they count from 1.
        attention: whether to tell it.
    """
    for number, (source, translations) in enumerate(zip(sources, found, strict=True), first + 1):
        told = {
            "line": number,
            "source": source,
            "source_subwords": translations[0].source_subwords,
            "translations": [as_object(one, attention) for one in translations],
        }
        yield json.dumps(told, ensure_ascii=False)


def as_object(translation: Translation, attention: bool = False) -> dict:
    """A translation as JSON has it; alignments in Pharaoh's form, left out where not asked for."""
    told = {
        "text": translation.text,
        "score": round(translation.score, DIGITS),
        "subwords": translation.subwords,
        "subword_scores": [round(score, DIGITS) for score in translation.subword_scores],
    }
    if translation.alignment is not None:
        told["alignment"] = pharaoh(translation.alignment)
        told["word_alignment"] = pharaoh(translation.word_alignment or ())
    if attention and translation.attention is not None:
        told["attention"] = [[round(p, DIGITS) for p in row] for row in translation.attention]
    return told


def pharaoh(pairs: Pairs) -> str:
    """An alignment as `source-target` with spaces between, numbers from 0."""
    return " ".join(f"{source}-{target}" for source, target in pairs)


def fixed(number: float) -> str:
    """A number with a fixed count of digits."""
    return f"{number:.{DIGITS}f}"
