"""Text to sentencepiece ids, in files that ``binarise`` turns into fairseq's.

Each side of a split becomes a file with the ids of all sentences (little-endian uint16 or uint32)
and one with the length of each sentence (int32): at this point the counts that order fairseq's
dictionary are not known yet.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fairseq_memtx.ground import text
from fairseq_memtx.ground.files import atomic_writers
from fairseq_memtx.ground.layout import IdFiles
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.workers import ordered_map

from . import spm


@dataclass(frozen=True)
class Limits:
    """Limits on a pair in subwords, without the end-of-sentence symbol."""

    max_subwords: int
    max_ratio: float


class TextBlock(NamedTuple):
    """Lines of processed text, each ending in a line break."""

    source: list[bytes]
    target: list[bytes]
    docids: list[bytes]


class EncodedBlock(NamedTuple):
    """The contents of the five files for one block, and the counts behind the report."""

    columns: tuple[bytes, ...]
    lines_read: int
    reasons: Counter[str]
    tokens: np.ndarray  # occurrences of each sentencepiece id, both sides together
    subwords: list[int]  # source, target
    unknown: list[int]


def id_dtype(pieces: int) -> np.dtype:
    """The smallest of the two types that holds every id."""
    return np.dtype("<u2" if pieces <= 1 << 16 else "<u4")


class Encoder:
    """Encodes blocks of text; one per worker process.

    Args:
        model: the sentencepiece model's path.
        sha256: what its bytes must hash to.
        limits: pairs beyond them are dropped; ``None`` drops nothing (validation and test).
    """

    def __init__(self, model: Path, sha256: str, limits: Limits | None) -> None:
        self.model = spm.load_checked(model, sha256)
        self.limits = limits
        self.pieces = self.model.get_piece_size()
        self.dtype = id_dtype(self.pieces)

    def __call__(self, block: TextBlock) -> EncodedBlock:
        sides = [self._encode(lines) for lines in (block.source, block.target)]
        sizes = [np.array([len(ids) for ids in side], np.int32) for side in sides]
        keep, reasons = self._judge(sizes[0], sizes[1])
        columns: list[bytes] = []
        tokens = np.zeros(self.pieces, np.int64)
        subwords, unknown = [], []
        for side, size in zip(sides, sizes, strict=True):
            ids = self._join(side[i] for i in keep)
            columns += [ids.tobytes(), size[keep].astype("<i4").tobytes()]
            counts = np.bincount(ids, minlength=self.pieces)
            tokens += counts
            subwords.append(len(ids))
            unknown.append(int(counts[self.model.unk_id()]))
        columns.append(b"".join(block.docids[i] for i in keep))
        return EncodedBlock(tuple(columns), len(block.source), reasons, tokens, subwords, unknown)

    def _encode(self, lines: list[bytes]) -> list[list[int]]:
        texts = [line[:-1].decode() for line in lines]
        return text.encode(self.model, texts)

    def _join(self, sentences: Iterable[list[int]]) -> np.ndarray:
        return np.fromiter(chain.from_iterable(sentences), self.dtype)

    def _judge(self, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
        """The numbers of the pairs to keep, and the count of each reason to drop the others."""
        reasons = Counter[str]()
        if self.limits is None:
            return np.arange(len(source)), reasons
        short, long = np.minimum(source, target), np.maximum(source, target)
        empty = short < 1
        too_long = ~empty & (long > self.limits.max_subwords)
        ratio = ~empty & ~too_long & (long > short * self.limits.max_ratio)
        for name, flags in (
            ("no subwords", empty),
            ("too many subwords", too_long),
            ("length ratio", ratio),
        ):
            reasons[name] += int(flags.sum())
        return np.nonzero(~(empty | too_long | ratio))[0], reasons


def encode_split(
    blocks: Iterable[TextBlock],
    out: IdFiles,
    make_encoder: Callable[[], Encoder],
    workers: int,
    progress: Progress,
) -> dict[str, Any]:
    """Encode ``blocks`` into the files of ``out``, in order.

    Returns:
        Counts: pairs written, ``reasons``, ``subwords`` and ``unknown`` per side, and ``tokens``,
        the occurrences of each sentencepiece id.
    """
    reasons, pairs = Counter[str](), 0
    subwords, unknown = [0, 0], [0, 0]
    tokens: np.ndarray | int = 0
    with atomic_writers(*out.all()) as files, progress:
        for block in ordered_map(make_encoder, blocks, workers):
            for file, column in zip(files, block.columns, strict=True):
                file.write(column)
            reasons += block.reasons
            tokens = tokens + block.tokens
            pairs += block.lines_read - block.reasons.total()
            for side in range(2):
                subwords[side] += block.subwords[side]
                unknown[side] += block.unknown[side]
            progress.add(block.lines_read)
    return {
        "pairs": pairs,
        "dropped": dict(reasons),
        "subwords": subwords,
        "unknown": unknown,
        "tokens": [int(count) for count in np.atleast_1d(tokens)],
    }
