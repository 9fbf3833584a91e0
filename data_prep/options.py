"""What a preparation may be told: one dataclass, the source of the command line's defaults."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.prepared import is_language

MOST_PIECES = 1_000_000
MOST_WORKERS = 512


@dataclass(frozen=True)
class Options:
    """Settings of a preparation; every field that changes the output is part of some stamp."""

    source_lang: str = "en"
    target_lang: str = "de"
    # Cleaning of the training text (validation and test text is never cleaned).
    min_words: int = 1
    max_words: int = 250
    max_subwords: int = 250
    max_ratio: float = 2.5  # longer side over shorter side, in subwords
    duplicates: str = "drop"  # or "keep", for instance to leave documents whole
    control: str = "replace"  # or "drop": what to do with control characters
    invalid_utf8: str = "drop"  # or "error"
    # Text before the subwords.
    tokenizer: str = "none"  # or "moses"
    normalize: bool = False
    # Subwords.
    vocab_size: int = 8000
    model_type: str = "bpe"  # or "unigram"
    character_coverage: float = 1.0
    byte_fallback: bool = False
    spm_sample: int = 1_000_000  # training pairs shown to sentencepiece
    seed: int = 1
    # How, not what: changes nothing in the output.
    workers: int = 2

    def __post_init__(self) -> None:
        for name in ("source_lang", "target_lang"):
            rule = "of letters, digits and _ only (fairseq splits file names at - and .)"
            self._require(name, is_language(getattr(self, name)), rule)
        for name in ("min_words", "max_words", "max_subwords", "vocab_size", "spm_sample"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("vocab_size", self.vocab_size <= MOST_PIECES, f"at most {MOST_PIECES}")
        self._require("seed", 0 <= self.seed < 1 << 63, "at least 0 and below 2^63")
        self._require("workers", 1 <= self.workers <= MOST_WORKERS, f"from 1 to {MOST_WORKERS}")
        self._require("max_words", self.max_words >= self.min_words, "at least `--min-words`")
        self._require("max_ratio", self.max_ratio >= 1, "at least 1")
        self._require(
            "character_coverage",
            0.98 <= self.character_coverage <= 1,
            "from 0.98 to 1, which sentencepiece takes",
        )
        self._require("target_lang", self.target_lang != self.source_lang, "another language")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"`{flag}` is {getattr(self, name)}: it has to be {rule}")

    def only(self, *names: str) -> dict[str, Any]:
        """The named settings, for a stage's stamp."""
        return {name: getattr(self, name) for name in names}

    def asdict(self) -> dict[str, Any]:
        """All settings that can change the output."""
        settings = dataclasses.asdict(self)
        del settings["workers"]
        return settings
