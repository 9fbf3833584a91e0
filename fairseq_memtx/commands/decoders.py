"""The decoders: their architectures for fairseq-train, and with a name their flags.

``memtx decoders`` lists all of them, ``memtx decoders feedback`` tells the flags of one.
"""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Sequence

from fairseq_memtx.config import EncoderOptions, flag, help_of
from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground.errors import UserError, tell

WIDTH = 100


def listed() -> str:
    """All decoders, with what fairseq calls them."""
    lines = []
    for name, entry in DECODERS.items():
        lines.append(f"{name}: {DECODERS.says(name)}")
        lines.append(f"    --arch {entry.architecture}, as a language model {entry.language_model}")
    return "\n".join(lines)


def described(name: str) -> str:
    """The flags of a model with this decoder.

    Raises:
        UserError: where there is no such decoder.
    """
    if name not in DECODERS:
        known = ", ".join(DECODERS)
        raise UserError(f"there is no decoder `{name}`: choose one of {known}")
    options = DECODERS[name].options
    lines = [f"{name}: {DECODERS.says(name)}"]
    kinds = () if options is None else (options, EncoderOptions)
    for item in (item for kind in kinds for item in dataclasses.fields(kind)):
        text = f"{help_of(item)} (default: {item.default})"
        lines.append(f"{flag(item.name)}")
        lines.append(textwrap.fill(text, WIDTH, initial_indent="    ", subsequent_indent="    "))
    return "\n".join(lines)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of `memtx decoders`."""
    parser = argparse.ArgumentParser(prog="memtx decoders", description=__doc__)
    parser.add_argument("name", nargs="?", help="a decoder, to see its flags")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `memtx decoders`."""
    name = parse_args(argv).name
    try:
        print(listed() if name is None else described(name))
    except UserError as error:
        tell(error)
        return 1
    return 0
