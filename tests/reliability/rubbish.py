"""What the fuzz tests throw: lines of text, damaged files, and the loaders that must bear them."""

import random
from collections.abc import Callable
from pathlib import Path

from data_prep.sgm import read_segments
from fairseq_memtx.ground.files import open_bytes
from fairseq_memtx.ground.prepared import read_report
from fairseq_memtx.ground.text import TextSteps, load_subwords

WORDS = (
    "the",
    "old",
    "dog",
    "cat",
    "Zu\u00adsammen",
    "<unk>",
    "</s>",
    "3,000",
    "\u2581",
    "e\u0301",
)
ODD = "".join(map(chr, (0, 7, 9, 11, 12, 13, 27, 28, 0x7F, 0x85, 0x92, 0xA0, 0xAD, 0x200B, 0x200D,
                        0x202E, 0x2028, 0x2029, 0x2060, 0x3000, 0xFEFF, 0xFFFD,
                        0xFFFF)))  # fmt: skip


def line(draw: random.Random) -> str:
    """A line of words, odd characters, any character, or much of one."""
    kind = draw.randrange(5)
    if kind == 0:
        return "".join(draw.choices(ODD + " ", k=draw.randint(0, 6)))
    if kind == 1:
        return draw.choice(ODD + "a ") * draw.choice([1, 2, 100, 3000])
    parts = [draw.choice(WORDS) for _ in range(draw.randint(1, 8))]
    if kind == 2:
        parts.insert(draw.randrange(len(parts)), any_character(draw))
    glue = draw.choice([" ", "", draw.choice(ODD)])
    return glue.join(parts)


def any_character(draw: random.Random) -> str:
    """Of all of Unicode but the line feed and halves of surrogate pairs."""
    code = draw.choice([draw.randrange(0x300), draw.randrange(0x10000), draw.randrange(0x110000)])
    return "x" if code == 0x0A or 0xD800 <= code < 0xE000 else chr(code)


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content of a file with some of it flipped, cut, doubled or replaced."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        kind = draw.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = draw.randbytes(draw.randint(1, 9))
        elif kind == 3:
            changed[at : at + 8] = draw.choice([b"\xff" * 8, bytes(8), b"[" * 8, b"\n", b" "])
        else:
            changed += changed[at : at + 64]
    return bytes(changed)


def load_dictionary(path: Path) -> None:
    from fairseq.data import Dictionary

    from fairseq_memtx import plugin  # noqa: F401

    Dictionary.load(str(path))


def load_index(path: Path) -> None:
    """Beside a data file of its own length, so that the index itself decides."""
    from fairseq_memtx.data.binarised import check_pair

    data = path.with_suffix(".bin")
    if not data.exists():
        data.write_bytes(bytes(100))
    check_pair(str(path.with_suffix("")))


def load_gzip(path: Path) -> None:
    with open_bytes(path) as file:
        file.read()


Loader = Callable[[Path], object]

#: Files of a prepared folder, and what reads each.
LOADERS: dict[str, Loader] = {
    "prepared.json": lambda path: (read_report(path.parent), TextSteps.of(path.parent)),
    "bin/dict.en.txt": load_dictionary,
    "bin/train.en-de.en.idx": load_index,
    "bin/sentencepiece.bpe.model": load_subwords,
}

#: Of other files, with a small one of their kind to begin with.
MADE: dict[str, tuple[bytes, Loader]] = {
    "test.sgm": (
        b'<refset><doc docid="a"><seg id="1">x &amp; y</seg></doc></refset>',
        read_segments,
    ),
}
