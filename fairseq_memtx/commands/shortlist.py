"""Make a vocabulary shortlist from training data: ``memtx shortlist DATA --out FILE``.

``DATA`` is a binarised set. A lexical table (IBM Model 1) of its training pairs names the likely
translations of each source subword; ``--memtx-shortlist FILE`` of fairseq-generate then looks only
at these and at the most frequent subwords. The validation set tells how often a word is missing.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.writing import check_output

if TYPE_CHECKING:
    import numpy as np

    from fairseq_memtx.decoding.shortlist import Shortlist

logger = logging.getLogger(__name__)

TRANSLATIONS = 80  # of a source subword, if not told otherwise
FREQUENT = 200  # target subwords that are always allowed, if not told otherwise


class Corpus:
    """The pairs of one split of a binarised set, as numbers of subwords.

    Raises:
        UserError: where the files are missing, or other ones than fairseq's.
    """

    def __init__(self, data: Path, split: str):
        from fairseq.data.indexed_dataset import MMapIndexedDataset, infer_dataset_impl

        from fairseq_memtx import plugin  # noqa: F401  (says what is wrong with damaged files)
        from fairseq_memtx.data.binarised import check_numbers

        languages, prefix = find_split(data, split)
        paths = [f"{prefix}.{language}" for language in languages]
        for path in paths:
            if infer_dataset_impl(path) != "mmap":
                raise UserError(f"`{path}.idx` is not an index of fairseq's (mmap)")
        self.sources, self.targets = map(MMapIndexedDataset, paths)
        for path, language in zip(paths, languages, strict=True):
            check_numbers(path, len(load_dictionary(data, language)))

    def __len__(self) -> int:
        return len(self.sources)

    def pair(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target, the end symbol included, which stands for the empty word too."""
        return self.sources[number].numpy(), self.targets[number].numpy()


def find_split(data: Path, split: str) -> tuple[tuple[str, str], str]:
    """The languages and the prefix of a split's files.

    Raises:
        UserError: where there are none.
    """
    for path in sorted(data.glob(f"{split}.*-*.*.idx")):
        pair = path.name.split(".")[1]
        source, _, target = pair.partition("-")
        if all((data / f"{split}.{pair}.{side}.idx").exists() for side in (source, target)):
            return (source, target), str(data / f"{split}.{pair}")
    raise UserError(f"`{data}` holds no binarised data of the split `{split}`")


def dictionaries(data: Path) -> tuple[Any, Any]:
    """The dictionaries of source and target."""
    languages, _ = find_split(data, "train")
    source, target = (load_dictionary(data, language) for language in languages)
    return source, target


def load_dictionary(data: Path, language: str) -> Any:
    """The dictionary of a language.

    Raises:
        UserError: where it is missing or damaged.
    """
    from fairseq.data import Dictionary

    from fairseq_memtx import plugin  # noqa: F401  (says what is wrong with a damaged one)

    path = data / f"dict.{language}.txt"
    if not path.exists():
        raise UserError(f"`{data}` holds no dict.{language}.txt")
    return Dictionary.load(str(path))


def build(args: argparse.Namespace) -> Shortlist:
    """Learn the table and put the shortlist together."""
    import numpy as np
    import torch

    from fairseq_memtx.decoding import lexical_table
    from fairseq_memtx.decoding.shortlist import Shortlist, fingerprint

    source, target = dictionaries(args.data)
    corpus = Corpus(args.data, "train")
    order = np.random.default_rng(args.seed).permutation(len(corpus))

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        with Progress("links", total=len(corpus), unit="pairs") as progress:
            for number in order:
                yield corpus.pair(int(number))
                progress.add(1)

    links, used = lexical_table.link(pairs(), len(target), args.max_links)
    logger.info("%d of %d pairs, %d links", used, len(corpus), links.kind.size)
    probs = lexical_table.train(links, args.iterations)
    table = lexical_table.best_targets(links, probs, len(source), args.translations)
    targets = (corpus.pair(int(number))[1] for number in order[:used])
    frequent = lexical_table.most_frequent(targets, len(target), args.frequent)
    always = np.union1d(frequent, [target.bos(), target.pad(), target.eos(), target.unk()])
    table[source.pad()] = -1
    return Shortlist(
        torch.from_numpy(table),
        torch.from_numpy(always.astype(np.int64)),
        len(target),
        fingerprint(source.symbols, target.symbols),
    )


def missing(shortlist: Shortlist, corpus: Corpus) -> dict[str, float]:
    """How many subwords a sentence's list has, and the share of its reference that is not there."""
    import torch

    sizes, absent, total = [], 0, 0
    for number in range(len(corpus)):
        source, target = (torch.from_numpy(side) for side in corpus.pair(number))
        words = shortlist.words(source[None])
        sizes.append(len(words))
        absent += int((~torch.isin(target, words)).sum())
        total += len(target)
    return {"words": sum(sizes) / max(1, len(sizes)), "missing": absent / max(1, total)}


def make(args: argparse.Namespace) -> None:
    """Build, check and write the shortlist."""
    if not args.data.is_dir():
        raise UserError(f"`{args.data}` is not a folder: name one of binarised data")
    check_output(args.out, "--out", args.data.iterdir())
    valid = Corpus(args.data, "valid")  # before the work, which is in vain without it
    shortlist = build(args)
    found = missing(shortlist, valid)
    logger.info(
        "validation: %.0f of %d subwords allowed for a sentence, %.2f %% of the reference missing",
        found["words"], shortlist.num_targets, 100 * found["missing"],
    )  # fmt: skip
    with command_line.writing(args.out):
        shortlist.save(args.out)
    logger.info("written: %s", args.out)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx shortlist``."""
    whole = command_line.positive_int
    parser = argparse.ArgumentParser(prog="memtx shortlist", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("data", type=Path, help="binarised data, with its dictionaries")
    add("--out", type=Path, required=True, help="the shortlist, such as shortlist.npz")
    add("--translations", type=whole, default=TRANSLATIONS, help="of each source subword")
    add("--frequent", type=whole, default=FREQUENT, help="target subwords that are always allowed")
    add("--iterations", type=whole, default=5, help="of the training of the table")
    add("--max-links", type=whole, default=40_000_000, help="pairs of subwords to learn from,"
        " about 40 bytes each")  # fmt: skip
    add("--seed", type=whole, default=1, help="of the choice of pairs")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx shortlist``."""
    args = parse_args(argv)
    return command_line.run(lambda: make(args))
