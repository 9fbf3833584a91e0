"""Options of the decoders, the one source of our command-line flags: dataclasses free of fairseq.

A field `memory_span` becomes the flag `--memtx-memory-span` and the attribute `memtx_memory_span`
of fairseq's settings; `add_flags` and `from_namespace` do that.
"""

import argparse
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

PREFIX = "memtx_"

Options = TypeVar("Options")


def option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    """A dataclass field with what its flag needs."""
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class FeedbackOptions:
    """Of the Feedback decoder (Fan et al. 2020, arXiv 2002.09402, section 3 and ablations)."""

    memory_mixture: str = option(
        "softmax",
        "how the layers' states make a position's memory: softmax (learned), mean, first (the"
        " embedding), last (the last layer), or a state's number from 0 to the number of layers",
    )
    memory_kv: str = option(
        "shared",
        "one key and value projection of the memory for all layers, or one per layer",
        choices=("shared", "per-layer"),
    )
    memory_span: int = option(
        0, "number of past positions (subwords) that a position attends to; 0 means all"
    )
    relative_positions: int = option(
        0,
        "learn a key embedding for each distance up to this number of positions, shared by heads"
        " and layers; usually with --no-token-positional-embeddings; 0 means none",
    )
    engine: str = option("reference", "how the recurrence is run in training")

    def __post_init__(self) -> None:
        _at_least_zero(self, "memory_span", "relative_positions")


def flag(name: str) -> str:
    """The flag of the field `name`."""
    return "--" + (PREFIX + name).replace("_", "-")


def _at_least_zero(options: Any, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value < 0:
            raise ValueError(f"{flag(name)} must be at least 0, but is {value}")


def add_flags(parser: argparse.ArgumentParser, options: type) -> None:
    """Add a flag for each field of the dataclass `options`.

    No default is set on the parser, so that an architecture or a checkpoint may set it instead.
    """
    for item in fields(options):
        parser.add_argument(
            flag(item.name),
            type=_type_of(item),
            choices=item.metadata["choices"],
            default=argparse.SUPPRESS,
            help=f"{item.metadata['help']} (default: {item.default})",
        )


def _type_of(item: Field) -> type:
    return type(item.default)


def from_namespace(args: Any, options: type[Options]) -> Options:
    """Read `options` from fairseq's settings; what they lack (an older checkpoint) has its default.

    Raises:
        ValueError: where a value is impossible; the message names the flag.
    """
    given = {
        item.name: getattr(args, PREFIX + item.name, None)
        for item in fields(options)  # type: ignore[arg-type]
    }
    return options(**{name: value for name, value in given.items() if value is not None})
