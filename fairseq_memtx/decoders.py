"""The decoders by name, and what the rest has to know of each: one table, light to import.

Experiments, plots, benchmarks and the command `memtx decoders` read it; fairseq's models of
translation and of language are made from it (`models.registration`). To add a decoder:

1. an entry here, or a call of `DECODERS.add` in a file of one's own;
2. its module, with a subclass of `models.memory_decoder.MemoryDecoder` under `@decoder_of(name)`.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .config import CompressiveOptions, FeedbackOptions, SegmentOptions, flag
from .ground.registry import Registry


@dataclass(frozen=True)
class DecoderEntry:
    """What is told of a decoder.

    Attributes:
        architecture: fairseq's name for translation; size variants add an ending, see `models`.
        language_model: fairseq's name as a language model.
        module: that defines it; "" for one of fairseq's own.
        options: the dataclass of its flags; None for one of fairseq's own.
        lengths: of a decoder that works in segments, options that are lengths, as shares of the
            segment's, for experiments.
        flags: further flags for experiments.
        criterion: that it trains with unless told otherwise.
        is_recurrent: it trains one position after the other, and so for longer than others.
        runs_fused: the fast generator has its own, fused form of its steps.
    """

    architecture: str
    language_model: str
    module: str = ""
    options: type | None = None
    lengths: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    criterion: str = "label_smoothed_cross_entropy"
    is_recurrent: bool = False
    runs_fused: bool = False

    @property
    def is_stock(self) -> bool:
        """Whether it is one of fairseq's own."""
        return self.options is None

    @property
    def is_segmented(self) -> bool:
        """Whether it works in segments."""
        return bool(self.lengths)

    def settings(self, segment_len: int) -> dict[str, int]:
        """Its lengths by fairseq's names of the settings, for segments of so many subwords."""
        return {f"memtx_{name}": int(segment_len * share) for name, share in self.lengths.items()}

    def experiment_flags(self, segment_len: int) -> list[str]:
        """Its own flags of `fairseq-train`, for segments of so many subwords."""
        words: list[str] = []
        for name, share in self.lengths.items():
            words += [flag(name), str(int(segment_len * share))]
        return [*words, *self.flags]


DECODERS: Registry[DecoderEntry] = Registry("decoder")

DECODERS.add(
    "transformer",
    DecoderEntry("transformer", "transformer_lm", runs_fused=True),
    "fairseq's own, to compare with",
)
DECODERS.add(
    "feedback",
    DecoderEntry(
        "memtx_feedback",
        "memtx_feedback_lm",
        module="fairseq_memtx.models.feedback",
        options=FeedbackOptions,
        is_recurrent=True,
        runs_fused=True,
    ),
    "every layer reads one memory of all layers' past states; Fan et al. 2020",
)
DECODERS.add(
    "transformer-xl",
    DecoderEntry(
        "memtx_transformer_xl",
        "memtx_transformer_xl_lm",
        module="fairseq_memtx.models.transformer_xl",
        options=SegmentOptions,
        lengths={"segment_len": 1, "mem_len": 1},
        runs_fused=True,
    ),
    "segments that see the states just before them; Dai et al. 2019",
)
DECODERS.add(
    "compressive",
    DecoderEntry(
        "memtx_compressive",
        "memtx_compressive_lm",
        module="fairseq_memtx.models.compressive",
        options=CompressiveOptions,
        lengths={"segment_len": 1, "mem_len": 1, "cmem_len": 0.5},
        criterion="memtx_compression",
    ),
    "the same, and older states in compressed form; Rae et al. 2019",
)


def import_all() -> None:
    """Import the modules of all decoders, which makes fairseq know them."""
    for entry in DECODERS.values():
        if entry.module:
            importlib.import_module(entry.module)


def name_of(decoder: Any) -> str:
    """The name of a decoder, ours or fairseq's own, from the object itself."""
    return getattr(decoder, "memtx_name", "transformer")
