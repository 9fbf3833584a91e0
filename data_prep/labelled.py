"""A text with a label at some of its positions, as fairseq's files.

::

    OUT/bin/dict.txt, dict.label.txt             words and labels
    OUT/bin/{train,valid,test}.{bin,idx}         a line for each text, ended by fairseq's symbol
    OUT/bin/{train,valid,test}.label.{bin,idx}   a label for each of its positions, padding for none
    OUT/text/{train,valid,test}.{words,labels}   the same to read
    OUT/prepared.json                            what was done; last to appear
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground.files import renamed_together, sha256_of, write_bytes, write_json

from .programs import NO_LABEL, Program

if TYPE_CHECKING:
    from fairseq.data import Dictionary

LABELS = "label"


def outputs(out: Path, splits: Iterable[str]) -> list[Path]:
    """All files but `prepared.json`."""
    files = [out / "bin" / "dict.txt", out / "bin" / f"dict.{LABELS}.txt"]
    for split in splits:
        files += _set_files(out, split) + _set_files(out, f"{split}.{LABELS}")
        files += [out / "text" / f"{split}.{kind}" for kind in ("words", "labels")]
    return files


def _set_files(out: Path, name: str) -> list[Path]:
    return [out / "bin" / f"{name}.{kind}" for kind in ("bin", "idx")]


def write_labelled(
    out: Path,
    splits: Mapping[str, Sequence[Program]],
    words: Sequence[str],
    labels: Sequence[str],
    told: dict[str, Any],
) -> dict:
    """Write texts by their split.

    Args:
        out: the folder.
        splits: `train` and others.
        words, labels: all that the texts may have. The dictionaries depend on them alone: texts of
            another length are then a part of the same data, as in `fairseq-train SHORT:LONG`.
        told: what `prepared.json` says of their making.

    Returns:
        How many texts, words and labels each split has.
    """
    known, told_labels = _dictionary(words), _dictionary(labels)
    (out / "bin").mkdir(parents=True, exist_ok=True)
    with renamed_together(outputs(out, ())) as named:
        known.save(str(named(out / "bin" / "dict.txt")))
        told_labels.save(str(named(out / "bin" / f"dict.{LABELS}.txt")))
    for split, texts in splits.items():
        _write_text(out, split, texts)
        _write_set(_set_files(out, split), (text.words for text in texts), known, known.eos())
        marks = (text.labels for text in texts)
        _write_set(_set_files(out, f"{split}.{LABELS}"), marks, told_labels, told_labels.pad())
    counts = {split: _counts(texts) for split, texts in splits.items()}
    hashes = {path.relative_to(out).as_posix(): sha256_of(path) for path in outputs(out, splits)}
    write_json(out / "prepared.json", {**told, "counts": counts, "outputs": hashes})
    return counts


def _dictionary(words: Iterable[str]) -> Dictionary:
    from fairseq.data import Dictionary

    found = Dictionary()
    for word in words:
        found.add_symbol(word)
    return found


def _write_text(out: Path, split: str, texts: Sequence[Program]) -> None:
    for kind in ("words", "labels"):
        lines = (" ".join(getattr(text, kind)) for text in texts)
        write_bytes(
            out / "text" / f"{split}.{kind}", "".join(f"{line}\n" for line in lines).encode()
        )


def _write_set(
    files: list[Path], texts: Iterable[list[str]], dictionary: Dictionary, end: int
) -> None:
    """One side, `end` after each text; no label is padding, which no loss counts."""
    import torch
    from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder, best_fitting_int_dtype

    numbers = {**dictionary.indices, NO_LABEL: dictionary.pad()}
    with renamed_together(files) as named:
        data, index = map(named, files)
        builder = MMapIndexedDatasetBuilder(str(data), best_fitting_int_dtype(len(dictionary)))
        for text in texts:
            builder.add_item(torch.tensor([*(numbers[word] for word in text), end]))
        builder.finalize(str(index))


def _counts(texts: Sequence[Program]) -> dict[str, int]:
    return {
        "texts": len(texts),
        "words": sum(len(text.words) for text in texts),
        "labels": sum(label != NO_LABEL for text in texts for label in text.labels),
    }
