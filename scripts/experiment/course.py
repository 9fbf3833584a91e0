"""The course of a curriculum: which corpora an epoch is made of while the lengths grow.

``python -m scripts.experiment.course --docids DATA/bin/train.docid --out course.json --train-args
DATA/bin --task memtx_translation ...`` forms the batches of the first epoch as the training does,
and counts in each part of it the pairs and target subwords of each corpus, and targets' lengths.
Where the short pairs of a mix are of one kind, a curriculum of lengths is one of domains too.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.figures import new_figure
from fairseq_memtx.ground.files import write_json
from scripts.shared.provenance import git_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

#: Beside an experiment's records.
FILE = "course.json"
#: Parts of the epoch that are counted.
PARTS = 40
#: A corpus with less of all target subwords than this is drawn among the others.
DRAWN_SHARE = 0.03
OTHERS = "others"
#: fairseq's default of `--max-source-positions` and `--max-target-positions`.
FAIRSEQ_POSITIONS = 1024


def compute(train_args: Sequence[str], docids: Path | None) -> dict:
    """The course of the training with these words after ``fairseq-train``."""
    iterator, targets, updates_at_once = batches_of(train_args)
    corpora = read_corpora(docids, len(targets))
    batches = iterator.ordered_batches(1, False, True)
    updates = math.ceil(len(batches) / updates_at_once)
    per_part = math.ceil(updates / PARTS)
    parts = []
    for first in range(0, updates, per_part):
        last = min(first + per_part, updates)
        own = batches[first * updates_at_once : last * updates_at_once]
        parts.append({"updates": [first, last], **count(own, targets, corpora)})
    return {"updates": updates, "parts": parts}


def count(batches: Sequence[Sequence[int]], targets: Any, corpora: Sequence[str]) -> dict:
    """Pairs and target subwords of each corpus, and the targets' lengths, in some batches."""
    indices = [index for batch in batches for index in batch]
    pairs, tokens = Counter[str](), Counter[str]()
    for index in indices:
        pairs[corpora[index]] += 1
        tokens[corpora[index]] += int(targets[index])
    return {
        "longest_target": max(int(targets[index]) for index in indices),
        "mean_target": round(sum(tokens.values()) / len(indices), 2),
        "pairs": dict(sorted(pairs.items())),
        "target_subwords": dict(sorted(tokens.items())),
    }


def batches_of(train_args: Sequence[str]) -> tuple[Any, Any, int]:
    """The iterator over the training's epochs, the length of each target, and the batches of an
    update, for a single process.
    """
    from fairseq import options, tasks, utils
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import fairseq_memtx.plugin  # noqa: F401  (registers the task)
    from fairseq_memtx.training.told_tasks import TrainingState

    args = options.parse_args_and_arch(options.get_training_parser(), list(train_args))
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    task.load_dataset("train")
    dataset, freq = task.dataset("train"), tuple(cfg.optimization.update_freq)
    limits = cfg.optimization.max_update or 0, cfg.optimization.max_epoch or 0
    task.memtx_training = TrainingState(0, limits[0], freq, 0, False, limits[1])
    sides = ("source", "target")
    positions = tuple(getattr(cfg.model, f"max_{s}_positions", FAIRSEQ_POSITIONS) for s in sides)
    iterator = task.get_batch_iterator(
        dataset=dataset,
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        max_positions=utils.resolve_max_positions(
            task.max_positions(), positions, cfg.dataset.max_tokens
        ),
        ignore_invalid_inputs=True,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed,
    )
    return iterator, dataset.tgt_sizes, freq[0]


def read_corpora(docids: Path | None, pairs: int) -> list[str]:
    """The corpus of each pair, from ids of the form ``corpus:document``; else one for all."""
    if docids is None:
        return ["all"] * pairs
    lines = docids.read_text(encoding="utf-8").split("\n")[:pairs]
    return [line.partition(":")[0] for line in lines]


def totals(course: dict, kind: str) -> Counter[str]:
    """Pairs or target subwords of each corpus in the whole epoch."""
    found = Counter[str]()
    for part in course["parts"]:
        found.update(part[kind])
    return found


def share(parts: Sequence[dict], corpus: str, kind: str) -> float:
    """A corpus' share of some parts."""
    own = sum(part[kind].get(corpus, 0) for part in parts)
    return own / sum(sum(part[kind].values()) for part in parts)


def sentences(course: dict) -> str:
    """What the curriculum does to the mix, in words."""
    parts = course["parts"]
    tenth = max(1, len(parts) // 10)
    begin, end = parts[:tenth], parts[-tenth:]
    told = (
        f"The first epoch, {course['updates']:,} updates, is in the order of the curriculum: the"
        f" longest target of its first part has {begin[0]['longest_target']} subwords and the mean"
        f" of all {begin[0]['mean_target']:.1f}, of its last part {end[-1]['longest_target']} and"
        f" {end[-1]['mean_target']:.1f}. Later epochs are mixed."
    )
    corpora = totals(course, "pairs")
    if len(corpora) == 1:
        return told
    moved = max(corpora, key=lambda one: share(begin, one, "pairs") - share(end, one, "pairs"))
    return (
        f"{told} It is a curriculum of domains too: {moved}, with"
        f" {share(parts, moved, 'pairs'):.0%} of the pairs and"
        f" {share(parts, moved, 'target_subwords'):.0%} of the target subwords of the epoch, has"
        f" {share(begin, moved, 'pairs'):.0%} of the pairs in the first tenth of its updates and"
        f" {share(end, moved, 'pairs'):.0%} in the last."
    )


def figure(course: dict) -> Figure:
    """Each corpus' share of the target subwords over the updates, and the targets' lengths."""
    drawn, (shares, lengths) = new_figure(2)
    parts = course["parts"]
    middles = [sum(part["updates"]) / 2 for part in parts]
    whole = totals(course, "target_subwords")
    names = [n for n, own in whole.most_common() if own >= DRAWN_SHARE * sum(whole.values())]
    rows = [[share([part], name, "target_subwords") for part in parts] for name in names]
    rest = [1 - sum(column) for column in zip(*rows, strict=True)]
    if len(names) < len(whole):
        names, rows = [*names, OTHERS], [*rows, rest]
    shares.stackplot(middles, rows, labels=names)
    shares.set_xlabel("updates of the first epoch")
    shares.set_ylabel("share of the target subwords")
    shares.set_ylim(0, 1)
    shares.set_xlim(middles[0], middles[-1])
    drawn.legend(*shares.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    for name, label in (("longest_target", "longest"), ("mean_target", "mean")):
        lengths.plot(middles, [part[name] for part in parts], label=label)
    lengths.set_xlabel("updates of the first epoch")
    lengths.set_ylabel("subwords of a target")
    lengths.set_yscale("log")
    lengths.grid(alpha=0.3)
    lengths.legend()
    return drawn


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.experiment.course``."""
    parser = argparse.ArgumentParser(
        prog="scripts.experiment.course", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--docids", type=Path, help="the document of each training pair, as data_prep names them")
    add("--out", type=Path, required=True, help="JSON file to write")
    add("--train-args", nargs=argparse.REMAINDER, required=True, help="last: fairseq-train's words")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.experiment.course``."""
    args = parse_args(argv)

    def work() -> None:
        commit, dirty = git_state()
        found = compute(args.train_args, args.docids)
        write_json(args.out, {"commit": commit, "dirty": dirty, **found})

    return command_line.run(work)


if __name__ == "__main__":
    raise SystemExit(main())
