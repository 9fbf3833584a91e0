"""A few translations to look at: source, reference and what each system makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def choose(sources: Sequence[str], count: int = 3) -> list[int]:
    """Line numbers of ``count`` sentences, spread over the lengths from short to long."""
    by_length = sorted(range(len(sources)), key=lambda index: (len(sources[index].split()), index))
    count = min(count, len(by_length))
    return [by_length[(2 * part + 1) * len(by_length) // (2 * count)] for part in range(count)]


def show(
    sources: Sequence[str], references: Sequence[str], systems: Mapping[str, Sequence[str]]
) -> str:
    """The chosen sentences, a line for each text."""
    width = max(len(name) for name in ("reference", *systems))
    blocks = []
    for index in choose(sources):
        texts = {"source": sources[index], "reference": references[index]}
        texts |= {name: lines[index] for name, lines in systems.items()}
        blocks.append("\n".join(f"  {name:<{width}}  {text}" for name, text in texts.items()))
    return "\n\n".join(blocks)
