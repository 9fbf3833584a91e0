r"""Reading parallel text: finding the files, and blocks of lines split on ``\n`` only.

Other line separators (a bare CR, U+0085, U+2028 ...) are characters of the text: splitting on them
would shift the alignment of a corpus.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import open_bytes

BLOCK_LINES = 5000
# A longer line is no sentence; the bound keeps memory bounded when a file holds no line breaks.
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class ParallelFiles:
    """The files of one parallel corpus: line n of one side translates line n of the other."""

    name: str
    source: Path
    target: Path
    docids: Path | None = None
    context: Path | None = None

    def paths(self) -> list[Path]:
        """The files that must have equal line counts."""
        optional = [self.docids, self.context]
        return [self.source, self.target, *(path for path in optional if path is not None)]


@dataclass(frozen=True)
class SgmFiles:
    """The source and the reference file of a test set in SGM."""

    name: str
    source: Path
    target: Path


class Block(NamedTuple):
    """Consecutive lines of a corpus, each side as undecoded bytes in which every line ends."""

    files: ParallelFiles
    first_line: int  # 1 for the first line of the file
    lines: int
    source: bytes
    target: bytes
    docids: bytes | None


def find_parallel(prefix: str | Path, source_lang: str, target_lang: str) -> ParallelFiles:
    """The files ``PREFIX.LANG`` or ``PREFIX.LANG.gz`` of both languages, with ids if there are any.

    Raises:
        UserError: a side is missing, or exists both plain and compressed.
    """
    prefix = Path(prefix)
    sides = [_plain_or_gzip(prefix, lang) for lang in (source_lang, target_lang)]
    for lang, side in zip((source_lang, target_lang), sides, strict=True):
        if side is None:
            raise UserError(
                f"there is neither `{prefix}.{lang}` nor `{prefix}.{lang}.gz`: check the path, to"
                " which the language is added"
            )
    source, target = cast(list[Path], sides)
    docids = _plain_or_gzip(prefix, "docid")
    context = _plain_or_gzip(prefix, "context")
    return ParallelFiles(prefix.name, source, target, docids, context)


def find_held_out(
    prefix: str | Path, source_lang: str, target_lang: str
) -> ParallelFiles | SgmFiles:
    """Like ``find_parallel``, or the SGM pair ``PREFIX-src.LANG.sgm``, ``PREFIX-ref.LANG.sgm``."""
    sgm = [
        _plain_or_gzip(Path(f"{prefix}-{role}.{lang}"), "sgm")
        for role, lang in (("src", source_lang), ("ref", target_lang))
    ]
    if sgm[0] and sgm[1]:
        return SgmFiles(Path(prefix).name, sgm[0], sgm[1])
    return find_parallel(prefix, source_lang, target_lang)


def _plain_or_gzip(prefix: Path, extension: str) -> Path | None:
    candidates = [Path(f"{prefix}.{extension}"), Path(f"{prefix}.{extension}.gz")]
    found = [path for path in candidates if path.is_file()]
    if len(found) == 2:
        raise UserError(f"`{found[0]}` is there both plain and compressed: remove one of them")
    return found[0] if found else None


def read_lines(path: Path) -> Iterator[bytes]:
    r"""The lines of a file as bytes, each ending in ``\n`` (the last one too)."""
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise UserError(
                    f"`{path}` line {number} is longer than {MAX_LINE_BYTES} bytes: is this a text"
                    " file with one sentence a line?"
                )
            yield line if line.endswith(b"\n") else line + b"\n"


def read_blocks(files: ParallelFiles, block_lines: int = BLOCK_LINES) -> Iterator[Block]:
    """The corpus as blocks of ``block_lines`` aligned lines (the last block may be shorter).

    Raises:
        UserError: the files do not have equally many lines.
    """
    sides = [files.source, files.target, *([files.docids] if files.docids else [])]
    with ExitStack() as stack:
        readers = [read_lines(path) for path in sides]
        for reader in readers:
            stack.callback(reader.close)  # type: ignore[attr-defined]
        first_line = 1
        while True:
            columns = [list(islice(reader, block_lines)) for reader in readers]
            counts = [len(column) for column in columns]
            if len(set(counts)) > 1:
                raise unequal_lines(
                    {p: first_line - 1 + c for p, c in zip(sides, counts, strict=True)}
                )
            if not counts[0]:
                return
            joined = [b"".join(column) for column in columns]
            docids = joined[2] if files.docids else None
            yield Block(files, first_line, counts[0], joined[0], joined[1], docids)
            first_line += counts[0]


def unequal_lines(counts: dict[Path, int]) -> UserError:
    """The error for files of one corpus that do not have equally many lines."""
    told = ", ".join(f"`{path}` has {count}" for path, count in counts.items())
    return UserError(f"the files of a corpus differ in their number of lines: {told}")


def split_lines(text: bytes) -> list[bytes]:
    r"""The lines of a block's side, without their ``\n``."""
    lines = text.split(b"\n")
    lines.pop()  # what follows the last line break: nothing
    return lines
