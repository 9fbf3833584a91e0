"""fairseq's dictionary and memory-mapped sets from sentencepiece ids.

The files are those that ``fairseq-preprocess --joined-dictionary`` makes from the same pieces as
text, byte for byte; only the dictionary may be longer, since pieces that the training text does not
hold are kept (with a count of 0) instead of becoming unknown.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import (
    MMapIndexedDataset,
    MMapIndexedDatasetBuilder,
    best_fitting_int_dtype,
)

from .encode import id_dtype

PADDING_FACTOR = 8
BLOCK_SENTENCES = 100_000
# The ids that sentencepiece gives to its unknown, begin and end symbols, and fairseq's names.
SPECIAL = {0: "<unk>", 1: "<s>", 2: "</s>"}


def make_dictionary(pieces: list[str], counts: list[int]) -> Dictionary:
    """fairseq's joined dictionary of ``pieces``, most frequent first, padded to a multiple of 8."""
    dictionary = Dictionary()
    for number, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
        if number not in SPECIAL:
            dictionary.add_symbol(piece, n=count)
    dictionary.finalize(padding_factor=PADDING_FACTOR)
    return dictionary


def id_table(pieces: list[str], dictionary: Dictionary) -> np.ndarray:
    """The fairseq id of each sentencepiece id."""
    dtype = best_fitting_int_dtype(len(dictionary))
    symbols = (SPECIAL.get(number, piece) for number, piece in enumerate(pieces))
    return np.array([dictionary.index(symbol) for symbol in symbols], dtype)


class BlockBuilder(MMapIndexedDatasetBuilder):
    """fairseq's builder, fed with many sentences at a time.

    The stock builder keeps a Python list of sizes and makes another of pointers when it ends; here
    a sentence costs 4 bytes of memory.
    """

    def __init__(self, out_file: str, dtype: Any) -> None:
        super().__init__(out_file, dtype)
        self._sizes = array("i")

    def add_block(self, ids: np.ndarray, sizes: np.ndarray) -> None:
        """Add sentences: ``ids`` of all one after another, ``sizes`` the length of each."""
        assert ids.dtype == self._dtype and ids.size == sizes.sum()
        self._data_file.write(ids.tobytes())
        self._sizes.frombytes(sizes.astype(np.int32).tobytes())

    def finalize(self, index_file: str) -> None:
        """Close the data file and write the index (the layout of fairseq's index writer)."""
        self._data_file.close()
        sizes = np.asarray(self._sizes)
        with MMapIndexedDataset.Index.writer(index_file, self._dtype) as index:
            index._file.write(np.uint64(len(sizes)).tobytes())
            index._file.write(sizes.tobytes())
            start = 0
            for first in range(0, len(sizes), BLOCK_SENTENCES):
                lengths = sizes[first : first + BLOCK_SENTENCES].astype(np.int64)
                ends = start + np.cumsum(lengths * np.dtype(self._dtype).itemsize)
                index._file.write(np.concatenate(([start], ends[:-1])).astype(np.int64).tobytes())
                start = int(ends[-1])


def write_set(
    ids: Path, sizes: Path, bin_file: Path, idx_file: Path, table: np.ndarray, eos: int
) -> None:
    """Write one side of a split from its sentencepiece ids and the lengths of its sentences.

    Args:
        ids: sentencepiece ids of all sentences.
        sizes: int32 length of each sentence.
        bin_file: fairseq's data file.
        idx_file: fairseq's index file.
        table: fairseq id of each sentencepiece id.
        eos: fairseq id that ends a sentence.
    """
    builder = BlockBuilder(str(bin_file), table.dtype.type)
    for block, lengths in _sentences(ids, sizes, id_dtype(len(table))):
        ends = np.cumsum(lengths + 1) - 1
        line_ends = np.zeros(len(block) + len(lengths), bool)
        line_ends[ends] = True
        out = np.full(len(line_ends), eos, table.dtype)
        out[~line_ends] = table[block]
        builder.add_block(out, lengths + 1)
    builder.finalize(str(idx_file))


def _sentences(ids: Path, sizes: Path, dtype: np.dtype) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    with ids.open("rb") as id_file, sizes.open("rb") as size_file:
        while block := size_file.read(4 * BLOCK_SENTENCES):
            lengths = np.frombuffer(block, "<i4").astype(np.int64)
            yield np.frombuffer(id_file.read(int(lengths.sum()) * dtype.itemsize), dtype), lengths
