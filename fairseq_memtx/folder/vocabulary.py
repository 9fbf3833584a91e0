"""The words of a model by their numbers: fairseq's dictionary, as far as translating needs it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..ground.errors import UserError
from ..ground.files import read_json

#: Symbols that are no words, by what they are for; the last stands for all that is unknown.
SPECIAL = ("bos", "pad", "eos", "unk")
MOST_WORDS = 10_000_000


class Vocabulary:
    """Words and numbers, by the names of fairseq's dictionary.

    Args:
        symbols: the words in the order of their numbers.
        special: the number of each of `SPECIAL`.
        counts: of each word in the training text.

    Raises:
        ValueError: for what is no vocabulary.
    """

    def __init__(self, symbols: list[str], special: dict[str, int], counts: list[int]):
        _check(symbols, special, counts)
        self.symbols, self.counts, self.special = symbols, counts, special
        self._numbers = {symbol: number for number, symbol in enumerate(symbols)}

    @classmethod
    def of(cls, dictionary: Any) -> "Vocabulary":
        """A dictionary of fairseq's."""
        special = {name: int(getattr(dictionary, name)()) for name in SPECIAL}
        return cls(list(dictionary.symbols), special, [int(n) for n in dictionary.count])

    @classmethod
    def from_json(cls, told: Any) -> "Vocabulary":
        """What `as_json` made.

        Raises:
            ValueError: for anything else.
        """
        if not isinstance(told, dict) or set(told) != {"symbols", "special", "counts"}:
            raise ValueError("a side has to be an object of symbols, special and counts")
        return cls(told["symbols"], told["special"], told["counts"])

    def as_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {"symbols": self.symbols, "special": self.special, "counts": self.counts}

    def __len__(self) -> int:
        return len(self.symbols)

    def __getitem__(self, number: int) -> str:
        return self.symbols[number] if number < len(self.symbols) else self.symbols[self.unk()]

    def index(self, symbol: str) -> int:
        """The number of a word, or that of what is unknown."""
        return self._numbers.get(symbol, self.unk())

    def string(self, tokens: Iterable[int]) -> str:
        """The words of tokens with spaces between, without the begin and end symbols."""
        hidden = {self.bos(), self.eos()}
        return " ".join(self[token] for token in tokens if token not in hidden)

    def bos(self) -> int:
        """The begin symbol's number."""
        return self.special["bos"]

    def pad(self) -> int:
        """The number of the padding symbol."""
        return self.special["pad"]

    def eos(self) -> int:
        """The end symbol's number."""
        return self.special["eos"]

    def unk(self) -> int:
        """The number of all words that have none."""
        return self.special["unk"]


def _check(symbols: Any, special: Any, counts: Any) -> None:
    """Refuse what is no vocabulary."""
    if not isinstance(symbols, list) or not 4 <= len(symbols) <= MOST_WORDS:
        raise ValueError(f"symbols has to be a list of 4 to {MOST_WORDS:,} words")
    for symbol in symbols:
        if not isinstance(symbol, str) or "\n" in symbol:
            raise ValueError(f"{str(symbol)[:40]!r} is no word")
        symbol.encode()  # half a surrogate pair is no text
    if len(set(symbols)) < len(symbols):
        raise ValueError("symbols has a word twice")
    if not isinstance(counts, list) or len(counts) != len(symbols):
        raise ValueError(f"counts has to be a list of {len(symbols)} numbers")
    if any(type(count) is not int for count in counts):
        raise ValueError("counts has what is no whole number")
    if not isinstance(special, dict) or set(special) != set(SPECIAL):
        raise ValueError(f"special has to name the numbers of {', '.join(SPECIAL)}")
    numbers = list(special.values())
    if any(type(n) is not int or not 0 <= n < len(symbols) for n in numbers):
        raise ValueError("special has what is no word's number")
    if len(set(numbers)) < len(SPECIAL):
        raise ValueError("special has a number twice")


def read_vocabularies(path: Path) -> tuple[Vocabulary, Vocabulary]:
    """Those of the source and of the target, which may be one.

    Raises:
        UserError: where the file is damaged.
    """
    told = read_json(path, "a model's vocabulary")
    try:
        source = Vocabulary.from_json(told.get("source"))
        same = told.get("target") is None
        return source, source if same else Vocabulary.from_json(told["target"])
    except ValueError as error:
        raise UserError(f"`{path}` cannot be read as a model's vocabulary: {error}") from None
