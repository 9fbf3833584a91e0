"""From a raw line to subwords and back: the one way, for preparing text and for translating it.

A raw line is cleaned, changed by sacremoses where that is wanted, and cut into sentencepiece's
pieces. A model sees the same, whether a line was part of its training data or is translated.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from .errors import UserError
from .files import in_one_line, read_json
from .layout import told_in

# Cc (CR, U+0085 and the like), the two Unicode line separators, and the byte order mark: as text
# they mean nothing, and some readers take them for the end of a line.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")
# Tabs and the CR of a Windows line end are no reason to call a line dirty.
HARMLESS = re.compile("\t|\r+$")
# Where a word may be broken: a hint for typesetters, invisible, and no part of the word.
SOFT_HYPHEN = "\u00ad"

UNKNOWN = "<unk>"  # fairseq's word for what the dictionary lacks
WORD_START = "\u2581"  # of sentencepiece's pieces
BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")  # of its byte fallback

TOKENIZERS = ("none", "moses")

Process = Callable[[str], str]


def clean(line: str) -> str:
    """A raw line without what means nothing as text.

    Runs of control characters become one space, soft hyphens go, the ends are stripped. A line of
    which nothing would be left to translate becomes empty.
    """
    text = CONTROL.sub(" ", line).replace(SOFT_HYPHEN, "").strip()
    return "" if is_blank(text) else text


def has_control(text: str) -> bool:
    """Whether ``text`` holds a control character other than a tab or a final CR."""
    return CONTROL.search(HARMLESS.sub("", text)) is not None


def is_blank(text: str) -> bool:
    """Whether nothing of ``text`` would be left to translate (spaces and format characters)."""
    return all(c.isspace() or unicodedata.category(c) in ("Cf", "Cc") for c in text)


@dataclass(frozen=True)
class TextSteps:
    """What is done to a line before the subwords, besides cleaning.

    Attributes:
        tokenizer: `moses` (sacremoses) or `none`.
        normalize: whether sacremoses normalises punctuation first.

    Raises:
        UserError: for another tokenizer.
    """

    tokenizer: str = "none"
    normalize: bool = False

    def __post_init__(self) -> None:
        if self.tokenizer not in TOKENIZERS or not isinstance(self.normalize, bool):
            raise UserError(
                f"the steps before the subwords are {self.tokenizer!r} and {self.normalize!r}: they"
                f" have to be a tokenizer of {', '.join(TOKENIZERS)} and whether to normalise"
            )

    @classmethod
    def of(cls, data: Path) -> "TextSteps":
        """Those that `data_prep` tells of a binarised set; none where it tells nothing.

        Raises:
            UserError: where what it tells cannot be read.
        """
        for path in told_in(data):
            what = "what data_prep tells of the data"
            options = read_json(path, what).get("options", {})
            with in_one_line(path, what):
                return cls(options.get("tokenizer", "none"), options.get("normalize", False))
        return cls()

    def before(self, language: str) -> Process:
        """The function from a raw line to what sentencepiece sees; from blank lines to "".

        sacremoses is called with ``escape=False``: sentencepiece needs no escapes, and there is
        then nothing to undo before detokenising.
        """
        steps: list[Process] = []
        if self.normalize:
            from sacremoses import MosesPunctNormalizer

            steps.append(MosesPunctNormalizer(lang=language).normalize)
        if self.tokenizer == "moses":
            from sacremoses import MosesTokenizer

            tokenize = MosesTokenizer(lang=language).tokenize
            steps.append(lambda text: tokenize(text, escape=False, return_str=True))

        def process(line: str) -> str:
            text = clean(line)
            for step in steps if text else ():
                text = step(text)
            return text

        return process

    def after(self, language: str) -> Process:
        """The function from joined subwords to text."""
        if self.tokenizer != "moses":
            return str
        from sacremoses import MosesDetokenizer

        detokenize = MosesDetokenizer(lang=language).detokenize
        return lambda text: detokenize(text.split())


def load_subwords(path: Path) -> Any:
    """A sentencepiece model.

    Raises:
        UserError: where the file is missing, or none or damaged.
    """
    from sentencepiece import SentencePieceProcessor

    with in_one_line(path, "a sentencepiece model"):
        content = path.read_bytes()
        model = SentencePieceProcessor(model_proto=content) if content else None
        if model is None or model.get_piece_size() == 0:
            raise ValueError("it is empty")
        return model


def encode(model: Any, texts: Sequence[str]) -> list[list[int]]:
    """The numbers of the pieces of each text, which has been through `TextSteps.before`."""
    return model.encode(list(texts), out_type=int, num_threads=1)


def symbols(model: Any) -> list[str]:
    """The fairseq word of each piece, in the order of their numbers."""
    pieces = (model.id_to_piece(number) for number in range(model.get_piece_size()))
    return [UNKNOWN if model.is_unknown(i) else piece for i, piece in enumerate(pieces)]


def join(pieces: Sequence[str]) -> str:
    """The text of the pieces, as fairseq joins them; bytes of the fallback become characters.

    What is unknown is spelled `UNKNOWN`, as fairseq-generate does.
    """
    return "".join(_spelled(pieces)).replace(WORD_START, " ").strip()


def _spelled(pieces: Sequence[str]) -> Iterator[str]:
    for are_bytes, run in groupby(pieces, lambda piece: bool(BYTE_PIECE.fullmatch(piece))):
        if are_bytes:
            yield bytes(int(piece[3:5], 16) for piece in run).decode(errors="replace")
        else:
            yield from run


def cut_between_words(pieces: list[str], most: int) -> Iterator[list[str]]:
    """Parts of at most `most` pieces, cut before a word where one begins in the latter half."""
    while len(pieces) > most:
        starts = [i for i in range(most // 2, most + 1) if pieces[i].startswith(WORD_START)]
        at = starts[-1] if starts and starts[-1] > 0 else most
        yield pieces[:at]
        pieces = pieces[at:]
    if pieces:
        yield pieces


def looks_like_utf16(start: bytes) -> bool:
    """Whether a file that begins like this is in UTF-16 or UTF-32, with or without its mark.

    ASCII in UTF-16 is valid UTF-8, with a NUL after each letter.
    """
    marks = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
    return start.startswith(marks) or start.count(0) * 5 > len(start) > 1


def read_lines(file: BinaryIO, name: str = "the input") -> Iterator[str]:
    """Lines split at line feeds only.

    Args:
        file: open for reading bytes.
        name: what a message calls it.

    Raises:
        UserError: at invalid UTF-8, with the line's number.
    """
    for number, line in enumerate(file, start=1):
        try:
            yield line.removesuffix(b"\n").decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"line {number} of {name} is not UTF-8: {error.reason} at byte {error.start}"
            ) from None
