"""Small made-up parallel texts, the same in every run."""

import random
from pathlib import Path

SYLLABLES = ["ka", "lo", "mi", "ter", "run", "sche", "bü", "Öl", "zen", "at", "é", "ing"]


def sentence(generator: random.Random, words: int) -> str:
    """Some words of one to four syllables."""
    made = ("".join(generator.choices(SYLLABLES, k=generator.randint(1, 4))) for _ in range(words))
    return " ".join(made)


def pairs(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """Pairs of sentences of similar length."""
    generator = random.Random(seed)
    lengths = [generator.randint(2, 12) for _ in range(count)]
    return [(sentence(generator, n), sentence(generator, n)) for n in lengths]


def write_lines(path: Path, lines: list[str]) -> Path:
    """Write text with a line break after each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    return path


def write_parallel(prefix: Path, text: list[tuple[str, str]], docids: bool = False) -> Path:
    """Write ``PREFIX.en`` and ``PREFIX.de`` (and ids of documents of five lines)."""
    write_lines(Path(f"{prefix}.en"), [source for source, _ in text])
    write_lines(Path(f"{prefix}.de"), [target for _, target in text])
    if docids:
        write_lines(Path(f"{prefix}.docid"), [f"d{line // 5}" for line in range(len(text))])
    return prefix


def write_splits(folder: Path, train: int = 300, docids: bool = False) -> dict[str, Path]:
    """Prefixes of a training, a validation and a test set."""
    sizes = {"train": train, "valid": 20, "test": 15}
    return {
        split: write_parallel(folder / split, pairs(size, seed), docids)
        for seed, (split, size) in enumerate(sizes.items())
    }
