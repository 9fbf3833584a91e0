"""The names of all files of a preparation.

::

    OUT/bin/            for fairseq: {train,valid,test}.SRC-TGT.LANG.{bin,idx}, dict.LANG.txt,
                        sentencepiece.bpe.model, {train,valid,test}.docid
    OUT/refs/           untouched text of the validation and test set, one line per binarised pair
    OUT/prepared.json   what was done; last to appear, so without it the folder is not whole
    OUT/stamps/         one file per finished stage
    OUT/work/           what lies between the stages; may go once nothing is to be changed
"""

from dataclasses import dataclass
from pathlib import Path

#: In the folder that fairseq reads, and there or above it.
SUBWORD_MODEL = "sentencepiece.bpe.model"
PREPARED = "prepared.json"

HELD_OUT = ("valid", "test")
SPLITS = ("train", *HELD_OUT)


def told_in(data: Path) -> list[Path]:
    """Where a binarised set may tell how it was prepared, the nearest first."""
    return [path for path in (data / PREPARED, data.parent / PREPARED) if path.is_file()]


@dataclass(frozen=True)
class IdFiles:
    """One split as sentencepiece ids: per language the ids and each sentence's length."""

    source_ids: Path
    source_sizes: Path
    target_ids: Path
    target_sizes: Path
    docids: Path

    def all(self) -> list[Path]:
        """All five, in the order in which they are written."""
        return [
            self.source_ids,
            self.source_sizes,
            self.target_ids,
            self.target_sizes,
            self.docids,
        ]

    def sides(self) -> list[tuple[Path, Path]]:
        """Ids and sizes of the source, then of the target side."""
        return [(self.source_ids, self.source_sizes), (self.target_ids, self.target_sizes)]


@dataclass(frozen=True)
class Layout:
    """File names below ``out`` for a pair of languages."""

    out: Path
    source_lang: str
    target_lang: str

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target."""
        return self.source_lang, self.target_lang

    @property
    def report(self) -> Path:
        """What was done."""
        return self.out / PREPARED

    @property
    def bin(self) -> Path:
        """fairseq's data folder."""
        return self.out / "bin"

    @property
    def work(self) -> Path:
        """What lies between the stages."""
        return self.out / "work"

    @property
    def clean_sides(self) -> tuple[Path, Path]:
        """The cleaned training text."""
        return self.work / f"clean.{self.source_lang}", self.work / f"clean.{self.target_lang}"

    @property
    def clean_docids(self) -> Path:
        """The document id of each cleaned pair (blank where there are none)."""
        return self.work / "clean.docid"

    @property
    def hashes(self) -> Path:
        """Eight bytes for each cleaned pair."""
        return self.work / "clean.hashes"

    @property
    def keep(self) -> Path:
        """One byte for each cleaned pair: 0 for a repetition."""
        return self.work / "clean.keep"

    @property
    def model(self) -> Path:
        """The sentencepiece model."""
        return self.work / "spm.model"

    @property
    def pieces(self) -> Path:
        """Its pieces in the order of their ids, one a line."""
        return self.work / "spm.pieces"

    @property
    def piece_counts(self) -> Path:
        """Occurrences of each piece in the training text, both sides together (JSON list)."""
        return self.work / "train.counts.json"

    def text(self, split: str) -> tuple[Path, Path, Path]:
        """Source, target and ids of a split that had to be taken out of another format."""
        names = (*self.languages, "docid")
        return tuple(self.work / "text" / f"{split}.{name}" for name in names)  # type: ignore[return-value]

    def ids(self, split: str) -> IdFiles:
        """A split as sentencepiece ids."""
        source, target = (self.work / f"{split}.{lang}" for lang in self.languages)
        return IdFiles(
            Path(f"{source}.ids"),
            Path(f"{source}.sizes"),
            Path(f"{target}.ids"),
            Path(f"{target}.sizes"),
            self.work / f"{split}.docid",
        )

    def references(self, split: str, context: bool) -> list[Path]:
        """The untouched text of a validation or test set, and its context flags if it has any."""
        names = [*self.languages, *(["context"] if context else [])]
        return [self.out / "refs" / f"{split}.{name}" for name in names]

    def prefix(self, split: str, lang: str) -> Path:
        """fairseq's name of one side of a split, without extension."""
        return self.bin / f"{split}.{self.source_lang}-{self.target_lang}.{lang}"

    def docids(self, split: str) -> Path:
        """The document id of each binarised pair."""
        return self.bin / f"{split}.docid"

    def dictionary(self, lang: str) -> Path:
        """fairseq's dictionary; the same for both languages."""
        return self.bin / f"dict.{lang}.txt"

    @property
    def bin_model(self) -> Path:
        """The sentencepiece model under the name that fairseq looks for."""
        return self.bin / SUBWORD_MODEL

    def bin_files(self, documented: list[str]) -> list[Path]:
        """Everything in ``bin/``; ``documented`` are the splits with document ids."""
        sets = [
            Path(f"{self.prefix(split, lang)}.{kind}")
            for split in SPLITS
            for lang in self.languages
            for kind in ("bin", "idx")
        ]
        dictionaries = [self.dictionary(lang) for lang in self.languages]
        return [*sets, *dictionaries, *map(self.docids, documented), self.bin_model]
