"""Validation and test sets: every line is kept, as a reference and as the model will see it."""

import logging
from collections.abc import Iterator
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers
from fairseq_memtx.ground.text import TextSteps

from .corpus import Block, ParallelFiles, read_blocks, read_lines, split_lines
from .encode import TextBlock
from .options import Options

logger = logging.getLogger(__name__)


def copy_references(files: ParallelFiles, outputs: list[Path]) -> None:
    """Copy both sides (and the context flags, if any), uncompressed but else untouched."""
    sides = [files.source, files.target, *([files.context] if files.context else [])]
    with atomic_writers(*outputs) as writers:
        for path, writer in zip(sides, writers, strict=True):
            writer.writelines(read_lines(path))


class HeldOut:
    """The lines of a held-out set as the model sees them; iterate once.

    A line with nothing to translate stays, as an empty sentence: taking it out would shift output
    against references. ``blank`` holds the numbers of such lines afterwards.
    """

    def __init__(self, files: ParallelFiles, options: Options) -> None:
        self.files = files
        self.blank: list[int] = []
        steps = TextSteps(options.tokenizer, options.normalize)
        languages = (options.source_lang, options.target_lang)
        self.processes = [steps.before(language) for language in languages]

    def __iter__(self) -> Iterator[TextBlock]:
        for block in read_blocks(self.files):
            source = self._lines(block, block.source, self.files.source, side=0)
            target = self._lines(block, block.target, self.files.target, side=1)
            for offset, pair in enumerate(zip(source, target, strict=True)):
                if not all(pair):
                    self.blank.append(block.first_line + offset)
            docids = split_lines(block.docids) if block.docids else [b""] * block.lines
            yield TextBlock(_ended(source), _ended(target), [docid + b"\n" for docid in docids])

    def _lines(self, block: Block, text: bytes, path: Path, side: int) -> list[str]:
        numbered = enumerate(split_lines(text), block.first_line)
        decoded = (_decode(raw, path, number) for number, raw in numbered)
        return [self.processes[side](line) for line in decoded]

    def warn(self) -> None:
        """Tell about blank lines, if there were any."""
        if self.blank:
            logger.warning(
                "`%s`: %d lines have a blank side (the first is line %d); they stay, as empty "
                "sentences, so that output and references keep their alignment",
                self.files.name,
                len(self.blank),
                self.blank[0],
            )


def _ended(texts: list[str]) -> list[bytes]:
    return [text.encode() + b"\n" for text in texts]


def _decode(raw: bytes, path: Path, line: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"`{path}` line {line} is not UTF-8 at byte {error.start + 1}: a validation or test set"
            " is never cleaned, so convert the file"
        ) from error
