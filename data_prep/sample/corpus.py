"""Generates the three splits, writes their files and counts what is in them.

Files of a split: ``.en`` and ``.de`` (one sentence a line), ``.docid``, ``.context`` (1 where the
German line needs an earlier sentence, else 0) and ``.pronouns`` (JSON lines, see `pronouns`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from fairseq_memtx.ground.files import atomic_writers, write_bytes

from .combinations import held_out, pairs
from .dice import Dice
from .documents import FREE_TO_REPEAT, MAX_WORDS, DocumentWriter, Line

GENERATOR_VERSION = 1
DEFAULT_SEED = 1
DEFAULT_DOCUMENTS = 3200
MIN_DOCUMENTS = 3
MIN_LONGEST = 8  # below that too few of the grammar's sentences fit
MIN_FEW = 4  # below that the same sentences come again
SPLITS = ("train", "valid", "test")
SUFFIXES = ("en", "de", "docid", "context", "pronouns")
_SHARE = 32  # one document in so many for validation, and as many for test

Document = tuple[str, list[Line]]


class SampleError(ValueError):
    """A wrong option or an unusable output folder; the message is one line for the user."""


def split_sizes(documents: int) -> dict[str, int]:
    """Documents of each split.

    Raises:
        SampleError: fewer than one document for each split.
    """
    if documents < MIN_DOCUMENTS:
        raise SampleError(f"`documents` is {documents}: it has to be at least {MIN_DOCUMENTS}")
    held = max(1, documents // _SHARE)
    return {"train": documents - 2 * held, "valid": held, "test": held}


@dataclass(frozen=True)
class Limits:
    """A smaller language, which a smaller model learns in less time.

    Attributes:
        longest: words of a sentence, at most, in either language.
        few: words of each list of the lexicon (nouns of a kind and gender, verbs of a frame ...)
            that are used; 0 for all.

    Raises:
        SampleError: out of their range.
    """

    longest: int = MAX_WORDS
    few: int = 0

    def __post_init__(self) -> None:
        if not MIN_LONGEST <= self.longest <= MAX_WORDS:
            raise SampleError(
                f"`longest` is {self.longest}: it has to be between {MIN_LONGEST} and"
                f" {MAX_WORDS} words"
            )
        if self.few != 0 and self.few < MIN_FEW:
            raise SampleError(f"`few` is {self.few}: it has to be 0, or at least {MIN_FEW}")

    @property
    def told(self) -> dict[str, int]:
        """What of it is less than all."""
        return {name: n for name, n in asdict(self).items() if n != getattr(NO_LIMITS, name)}


NO_LIMITS = Limits()


def draw_documents(
    seed: int, count: int, limits: Limits = NO_LIMITS
) -> Iterator[tuple[str, Document]]:
    """Pairs of split and document, train first.

    Every document has its own dice, so that a document depends on the seed, its own number and
    (in valid and test) the sentences that must not be repeated.
    """
    seen: set[str] = set()
    for split, size in split_sizes(count).items():
        earlier = frozenset(seen)
        for number in range(size):
            dice = Dice(f"{GENERATOR_VERSION}:{seed}:{split}:{number}", limits.few)
            writer = DocumentWriter(dice, split == "train", earlier, number, limits.longest)
            lines = writer.write()
            seen.update(line.english for line in lines)
            yield split, (f"{split}-{number:05d}", lines)


def pronoun_json(line_number: int, line: Line) -> Iterator[str]:
    """The `.pronouns` records of a line, numbered from 1."""
    for record in line.pronouns:
        fields = {
            "line": line_number,
            "position": record.position,
            "pronoun": record.pronoun,
            "alternatives": list(record.alternatives),
            "antecedent": record.antecedent,
            "gender": record.gender,
            "case": record.case,
            "distance": record.distance,
        }
        yield json.dumps(fields, ensure_ascii=False)


class SplitCounter:
    """Counts one split as its documents go by."""

    def __init__(self) -> None:
        self.documents = self.context = self.same_sentence = self.held_out_lines = 0
        self.lengths: dict[str, Counter[int]] = {"en": Counter(), "de": Counter()}
        self.types: dict[str, set[str]] = {"en": set(), "de": set()}
        self.genders: Counter[str] = Counter()
        self.distances: Counter[int] = Counter()

    def add(self, lines: list[Line]) -> None:
        """Count a document."""
        self.documents += 1
        for line in lines:
            for language, text in (("en", line.english), ("de", line.german)):
                words = text.split(" ")
                self.lengths[language][len(words)] += 1
                self.types[language].update(words)
            self.context += line.needs_context
            self.same_sentence += any(record.distance == 0 for record in line.pronouns)
            self.held_out_lines += any(held_out(*pair) for pair in pairs(line.tree))
            for record in line.pronouns:
                if record.distance > 0:
                    self.genders[record.gender] += 1
                    self.distances[record.distance] += 1

    def statistics(self) -> dict[str, object]:
        """The counts as plain JSON values."""
        lines = sum(self.lengths["en"].values())
        return {
            "documents": self.documents,
            "lines": lines,
            "lines_needing_context": self.context,
            "context_share": round(self.context / lines, 4),
            "lines_with_antecedent_inside": self.same_sentence,
            "lines_with_held_out_pairs": self.held_out_lines,
            "pronoun_genders": dict(sorted(self.genders.items())),
            "pronoun_distances": {str(k): n for k, n in sorted(self.distances.items())},
            "words": {side: _total(counts) for side, counts in self.lengths.items()},
            "mean_words": {
                side: round(_total(counts) / lines, 3) for side, counts in self.lengths.items()
            },
            "word_types": {side: len(types) for side, types in self.types.items()},
            "length_histogram": {
                side: {str(k): n for k, n in sorted(counts.items())}
                for side, counts in self.lengths.items()
            },
        }


def _total(lengths: Counter[int]) -> int:
    return sum(length * count for length, count in lengths.items())


class _SplitFiles:
    """The five files of a split, which are bytes to whoever opened them."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        self._files = files
        self._lines = 0

    def add(self, document: Document) -> None:
        docid, lines = document
        for line in lines:
            self._lines += 1
            context = str(int(line.needs_context))
            rows = [[text] for text in (line.english, line.german, docid, context)]
            rows.append(list(pronoun_json(self._lines, line)))
            for file, texts in zip(self._files, rows, strict=True):
                file.write("".join(f"{text}\n" for text in texts).encode())


def generate(
    out_dir: str | Path,
    seed: int = DEFAULT_SEED,
    documents: int = DEFAULT_DOCUMENTS,
    progress: Callable[[int], None] | None = None,
    limits: Limits = NO_LIMITS,
) -> dict[str, object]:
    """Write the sample corpus into `out_dir` and return its statistics.

    Writes the files of every split and ``sample.json`` with the statistics, each under a temporary
    name first; on an error or an interruption no file of this call remains.  `progress` is called
    with the number of documents written so far; `limits` make a smaller language.

    Raises:
        SampleError: too few documents, or `out_dir` cannot be made or is no folder.
    """
    sizes = split_sizes(documents)
    folder = Path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise SampleError(
            f"`out` is {out_dir}, a folder that cannot be written: {reason}"
        ) from error
    counters = {split: SplitCounter() for split in sizes}
    paths = [folder / f"{split}.{suffix}" for split in sizes for suffix in SUFFIXES]
    with atomic_writers(*paths) as opened:
        groups = (opened[i : i + len(SUFFIXES)] for i in range(0, len(opened), len(SUFFIXES)))
        files = {split: _SplitFiles(group) for split, group in zip(sizes, groups, strict=True)}
        for done, (split, document) in enumerate(draw_documents(seed, documents, limits), start=1):
            files[split].add(document)
            counters[split].add(document[1])
            if progress:
                progress(done)
        statistics = {
            "generator_version": GENERATOR_VERSION,
            "seed": seed,
            "documents": documents,
            **limits.told,
            "words_free_to_repeat": FREE_TO_REPEAT,
            "splits": {split: counter.statistics() for split, counter in counters.items()},
        }
    text = json.dumps(statistics, indent=1, ensure_ascii=False) + "\n"
    write_bytes(folder / "sample.json", text.encode())
    return statistics
