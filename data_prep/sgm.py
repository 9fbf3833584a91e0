"""NIST SGM, the format of WMT's test sets: documents of numbered segments.

A source file and a reference file are put together by document and segment id, in the order of the
source. Runs of white space become one space, as in sacreBLEU's reading of the same files.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers, open_bytes

MAX_BYTES = 256 << 20

TAG = re.compile(r"<(/?)(doc|seg)\b([^>]*)>", re.IGNORECASE)
ENTITY = re.compile(r"&(?:#(\d+)|#[xX]([0-9a-fA-F]+)|(amp|lt|gt|quot|apos));")
NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class Segment(NamedTuple):
    """One sentence of a document."""

    docid: str
    number: str
    text: str


def read_segments(path: Path) -> list[Segment]:
    """The segments of an SGM file, plain or gzip, in order.

    Raises:
        UserError: not UTF-8, too large, without segments, unbalanced, or with an id twice.
    """
    with open_bytes(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"`{path}` is larger than {MAX_BYTES >> 20} MiB: is it an SGM file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"`{path}` line {line} is not UTF-8: convert the file") from error
    segments = list(_segments(text, path))
    if not segments:
        raise UserError(f"`{path}` holds no <seg> elements: is it an SGM file?")
    _require_unique(segments, path)
    return segments


def _segments(text: str, path: Path) -> Iterator[Segment]:
    docid: str | None = None
    opened: re.Match[str] | None = None
    for tag in TAG.finditer(text):
        closing, element = tag[1] == "/", tag[2].lower()
        if opened is not None and not (closing and element == "seg"):
            raise _error(text, opened, path, "has no </seg>")
        if element == "doc":
            docid = None if closing else _attribute(text, tag, "docid", path)
        elif not closing:
            if docid is None:
                raise _error(text, tag, path, "is not in a <doc>")
            opened = tag
        elif opened is None:
            raise _error(text, tag, path, "follows no <seg>")
        else:
            content = text[opened.end() : tag.start()]
            number = _attribute(text, opened, "id", path)
            yield Segment(docid or "", number, " ".join(unescape(content).split()))
            opened = None
    if opened is not None:
        raise _error(text, opened, path, "has no </seg>")


def _attribute(text: str, tag: re.Match[str], name: str, path: Path) -> str:
    found = re.search(rf"\b{name}\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s>]+)", tag[3], re.IGNORECASE)
    value = found[1].strip("\"'").strip() if found else ""
    if not value:
        raise _error(text, tag, path, f"has no `{name}`")
    return unescape(value)


def _error(text: str, tag: re.Match[str], path: Path, rule: str) -> UserError:
    line = text.count("\n", 0, tag.start()) + 1
    return UserError(f"`{path}` line {line}: {tag[0]} {rule}")


def _require_unique(segments: list[Segment], path: Path) -> None:
    seen = set()
    for segment in segments:
        key = (segment.docid, segment.number)
        if key in seen:
            raise UserError(
                f"`{path}` holds document `{segment.docid}` segment {segment.number} twice: are"
                " there several references in one file?"
            )
        seen.add(key)


def unescape(text: str) -> str:
    """Replace numeric entities and XML's five named ones; a bare ``&`` stays."""

    def character(entity: re.Match[str]) -> str:
        if entity[3]:
            return NAMED[entity[3]]
        code = int(entity[1]) if entity[1] else int(entity[2], 16)
        return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else entity[0]

    return ENTITY.sub(character, text)


def read_pairs(source: Path, reference: Path) -> list[tuple[Segment, Segment]]:
    """The segments of two files put together by document and segment id, in the source's order.

    Raises:
        UserError: a segment of one file is missing in the other, or a file cannot be read.
    """
    segments = read_segments(source)
    references = {(s.docid, s.number): s for s in read_segments(reference)}
    pairs = []
    for segment in segments:
        partner = references.pop((segment.docid, segment.number), None)
        if partner is None:
            raise _missing(segment, source, reference)
        pairs.append((segment, partner))
    if references:
        raise _missing(next(iter(references.values())), reference, source)
    return pairs


def _missing(segment: Segment, where: Path, missing_in: Path) -> UserError:
    return UserError(
        f"`{missing_in}` lacks document `{segment.docid}` segment {segment.number}, which `{where}`"
        " has"
    )


def convert(source: Path, reference: Path, outputs: tuple[Path, Path, Path]) -> int:
    """Write both texts and the document ids as plain text, one segment a line.

    Returns:
        The number of segments.
    """
    pairs = read_pairs(source, reference)
    with atomic_writers(*outputs) as files:
        for segment, partner in pairs:
            for file, text in zip(files, (segment.text, partner.text, segment.docid), strict=True):
                file.write(text.encode() + b"\n")
    return len(pairs)
