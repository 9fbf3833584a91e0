"""Cleaning of training pairs, block by block: what is dropped, and the count of each reason.

Dropped here: a side that is empty, too short or too long in words, not UTF-8, or (on request) with
control characters. Lengths and ratio in subwords are judged by ``encode``, repetitions by
``duplicates``.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.text import TextSteps, has_control

from .corpus import Block, split_lines
from .options import Options

HASH_BYTES = 8
KEPT = "kept"
REPLACED = "control characters replaced"  # kept, but changed: not a reason to drop


class CleanBlock(NamedTuple):
    """The pairs of a block that passed, and the count of each reason why others did not."""

    source: bytes
    target: bytes
    docids: bytes
    hashes: bytes  # HASH_BYTES for each pair
    counts: Counter[str]
    lines_read: int
    first_invalid: str | None  # "`file` line n" of the first line that is not UTF-8


@dataclass
class _Kept:
    """The pairs of one block that passed so far."""

    sources: list[bytes] = field(default_factory=list)
    targets: list[bytes] = field(default_factory=list)
    docids: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)

    def add(self, source: bytes, target: bytes, docid: bytes) -> None:
        self.sources.append(source + b"\n")
        self.targets.append(target + b"\n")
        self.docids.append(docid + b"\n")
        self.hashes.append(
            hashlib.blake2b(source + b"\n" + target, digest_size=HASH_BYTES).digest()
        )


class Cleaner:
    """Cleans blocks of pairs by the limits in ``options``; one per worker process.

    Args:
        options: limits and text processing.
        qualify_docids: put the corpus' name before each document id, and give a line of a corpus
            without ids a document of its own; for training sets made of several corpora.
    """

    def __init__(self, options: Options, qualify_docids: bool = False) -> None:
        self.options = options
        self.qualify_docids = qualify_docids
        steps = TextSteps(options.tokenizer, options.normalize)
        self.process_source, self.process_target = (
            steps.before(lang) for lang in (options.source_lang, options.target_lang)
        )

    def __call__(self, block: Block) -> CleanBlock:
        kept, counts, first_invalid = _Kept(), Counter[str](), None
        docids = split_lines(block.docids) if block.docids is not None else None
        pairs = zip(split_lines(block.source), split_lines(block.target), strict=True)
        for offset, (raw_source, raw_target) in enumerate(pairs):
            try:
                source, target = raw_source.decode(), raw_target.decode()
            except UnicodeDecodeError as error:
                counts["invalid UTF-8"] += 1
                first_invalid = first_invalid or self._invalid(block, offset, raw_source, error)
                continue
            reason, source, target = self.judge(source, target)
            counts[reason or KEPT] += 1
            if reason in (None, REPLACED):
                docid = docids[offset] if docids is not None else None
                docid = self._docid(block, offset, docid)
                kept.add(source.encode(), target.encode(), docid)
        counts[KEPT] += counts[REPLACED]
        return CleanBlock(
            b"".join(kept.sources),
            b"".join(kept.targets),
            b"".join(kept.docids),
            b"".join(kept.hashes),
            counts,
            block.lines,
            first_invalid,
        )

    def judge(self, source: str, target: str) -> tuple[str | None, str, str]:
        """The reason to drop a pair (``None`` or ``REPLACED``: keep it), and its new sides."""
        reason = None
        if has_control(source) or has_control(target):
            if self.options.control == "drop":
                return "control characters", source, target
            reason = REPLACED
        source, target = self.process_source(source), self.process_target(target)
        if not (source and target):
            return "empty", source, target
        words = sorted((len(source.split()), len(target.split())))
        if words[0] < self.options.min_words:
            return "too few words", source, target
        if words[1] > self.options.max_words:
            return "too many words", source, target
        return reason, source, target

    def _docid(self, block: Block, offset: int, docid: bytes | None) -> bytes:
        if not self.qualify_docids:
            return docid or b""
        own = docid if docid is not None else str(block.first_line + offset).encode()
        return block.files.name.encode() + b":" + own

    def _invalid(self, block: Block, offset: int, raw: bytes, error: UnicodeDecodeError) -> str:
        path = block.files.source if error.object == raw else block.files.target
        where = f"`{path}` line {block.first_line + offset}"
        if self.options.invalid_utf8 == "error":
            raise UserError(
                f"{where} is not UTF-8 at byte {error.start + 1}: convert the file, or drop such"
                " lines with `--invalid-utf8 drop`"
            )
        return where
