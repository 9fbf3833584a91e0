"""The usual way to give a translation context: k sentences of a document as one.

Source and target are the k - 1 sentences before and the sentence itself, with a symbol between
them; of the translation, what follows the last of these symbols counts (Tiedemann and Scherrer
2017).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx.ground.files import renamed_together
from fairseq_memtx.ground.layout import SPLITS, SUBWORD_MODEL, Layout

if TYPE_CHECKING:
    from fairseq_memtx.translator import Translator

#: Stands between sentences; it is in no other data.
BREAK = "<break>"


def concatenate(out: Path, to: Path, k: int, languages: tuple[str, str] = ("en", "de")) -> Path:
    """Write binarised data in which each sentence comes after the k - 1 before it.

    Args:
        out: a preparation by data_prep.
        to: the folder of the new one.
        k: sentences that are one.
        languages: source and target.

    Returns:
        The folder of the binarised data.
    """
    from fairseq.data import Dictionary

    old, new = Layout(out, *languages), Layout(to, *languages)
    new.bin.mkdir(parents=True, exist_ok=True)
    with renamed_together(new.bin_files([])) as name:
        for language in languages:
            dictionary = Dictionary.load(str(old.dictionary(language)))
            between = dictionary.add_symbol(BREAK)
            dictionary.save(str(name(new.dictionary(language))))
            for split in SPLITS:
                written = new.prefix(split, language)
                files = [str(name(Path(f"{written}.{kind}"))) for kind in ("bin", "idx")]
                write_set(old.prefix(split, language), old.docids(split), between, k, files)
        shutil.copyfile(old.bin / SUBWORD_MODEL, name(new.bin_model))
    return new.bin


def write_set(prefix: Path, docids: Path, between: int, k: int, files: Sequence[str]) -> None:
    """Write one side of a split.

    Args:
        prefix: of the sentences.
        docids: their documents.
        between: the symbol that stands between sentences.
        k: sentences that are one.
        files: data and index.
    """
    import numpy as np
    import torch
    from fairseq.data.indexed_dataset import MMapIndexedDataset, MMapIndexedDatasetBuilder

    from fairseq_memtx.data.documents import read_documents

    lines = MMapIndexedDataset(str(prefix))
    before = read_documents(docids, len(lines)).previous(len(lines))
    symbol = torch.tensor([between], dtype=torch.int32)
    builder = MMapIndexedDatasetBuilder(files[0], dtype=np.int32)
    for number in range(len(lines)):
        parts, place = [lines[number]], int(before[number])
        for _ in range(k - 1):
            if place >= 0:
                parts = [lines[place][:-1], symbol, *parts]
                place = int(before[place])
        builder.add_item(torch.cat(parts))
    builder.finalize(files[1])


def translate(
    translator: Translator, documents: Sequence[Sequence[str]], k: int
) -> list[list[str]]:
    """Translate documents by a model of such data."""
    between = translator.task.source_dictionary.index(BREAK)
    joined = []
    for lines in documents:
        encoded = [list(chain(*translator.encode(line))) for line in lines]
        for number in range(len(lines)):
            first = max(0, number - k + 1)
            joined.append(encoded[first])
            for part in encoded[first + 1 : number + 1]:
                joined[-1] = [*joined[-1], between, *part]
    found = iter(translator.translate_encoded(joined))
    return [[next(found).rpartition(BREAK)[2].strip() for _ in lines] for lines in documents]
