"""Give a model other dictionaries: ``memtx adapt MODEL.pt --data NEW/bin --out ADAPTED.pt``.

The rows of its word tables (embeddings, projection to the words) are copied by symbol; words that
it does not know get random rows, as in a new model. Every other weight stays. The result is where a
training on other data begins: ``fairseq-train NEW/bin --finetune-from-model ADAPTED.pt``, or
``--memtx-init-from ADAPTED.pt`` for a memory decoder that starts from a Transformer.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx import checkpoints
from fairseq_memtx.checkpoints import fingerprints, settings
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import atomic_writers
from fairseq_memtx.ground.writing import check_output

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

#: The tables with a row for each word, by the side whose words they are.
TABLES = {
    "source": ("encoder.embed_tokens.weight",),
    "target": ("decoder.embed_tokens.weight", "decoder.output_projection.weight"),
}


@dataclass(frozen=True)
class Words:
    """The words of one side, there and here, in the order of their numbers."""

    side: str
    old: list[str]
    new: list[str]

    def known(self) -> list[int]:
        """For each new word its old number, -1 for one that is not among the old."""
        numbers = {word: number for number, word in enumerate(self.old)}
        return [numbers.get(word, -1) for word in self.new]


def adapt(checkpoint: Path, data: Path, out: Path, trained_on: Path | None, seed: int) -> None:
    """Write a checkpoint for the dictionaries of another data folder.

    Args:
        checkpoint: of a translation model, in float.
        data: folder of the binarised data to come.
        out: the new file.
        trained_on: folder with the model's own dictionaries; None for the one that it names, or
            else the checkpoint's own.
        seed: of the rows of unknown words.

    Raises:
        UserError: where a file is missing or unusable, or words have no rows of their own.
    """
    import torch

    from fairseq_memtx.checkpoints.weights import check_finite

    check_output(out, "--out", [checkpoint])
    state = checkpoints.load(checkpoint)
    check_finite(state["model"], checkpoint)
    check_tables(state, checkpoint)
    own = trained_on or own_folder(state, checkpoint)
    task = settings.of(state)["task"]
    old = languages(own, (task.get("source_lang"), task.get("target_lang")))
    new = languages(data, old)
    sides = [words_of(*side, own, data) for side in zip(TABLES, old, new, strict=True)]
    check_words(state, sides, checkpoint, own)
    model = dict(state["model"])
    for number, words in enumerate(sides):
        known = words.known()
        for name in TABLES[words.side]:
            if name in model:
                model[name] = rows(
                    model[name], known, seed if shares_tables(state) else seed + number
                )
        logger.info(
            "%s: %d of %d words keep their rows, %d begin at random, %d are given up",
            words.side, len(known) - known.count(-1), len(known), known.count(-1),
            len(words.old) - len({number for number in known if number >= 0}),
        )  # fmt: skip
    with command_line.writing(out), atomic_writers(out) as (file,):
        torch.save(as_adapted(state, model, sides, data, new), file)


def check_tables(state: dict[str, Any], path: Path) -> None:
    """Refuse a model whose words have no rows that could be moved."""
    task = settings.of(state)["task"].get("_name")
    if task not in ("translation", "memtx_translation"):
        raise UserError(f"the task of `{path}` is {task}: only models for translation are adapted")
    if checkpoints.is_int8(state):
        raise UserError(f"`{path}` has its weights in eight bits: adapt what it was made of")
    if any(name.startswith("decoder.adaptive_softmax.") for name in state["model"]):
        raise UserError(f"`{path}` has an adaptive softmax, whose words are in groups by frequency")


def own_folder(state: dict[str, Any], path: Path) -> Path:
    """The data folder that a checkpoint names, where that is still there, or its own folder."""
    named = str(settings.of(state)["task"].get("data") or "").split(":")[0]
    return Path(named) if named and Path(named).is_dir() else path.parent


def languages(folder: Path, named: tuple[str | None, str | None]) -> tuple[str, str]:
    """Source and target language of a data folder.

    Args:
        folder: of binarised data.
        named: by whoever used it, None where not; taken unless the folder has others.

    Raises:
        UserError: where nothing tells them.
    """
    parts = (path.name.split(".") for path in sorted(folder.glob("*.*-*.*")))
    pairs = [tuple(part[1].split("-")) for part in parts if part[1].count("-") == 1]
    source, target = named if named in pairs or not pairs else pairs[0]
    if not source or not target:
        raise UserError(f"neither the checkpoint nor `{folder}` tells its languages: name its data")
    return source, target


def words_of(side: str, old: str, new: str, own: Path, data: Path) -> Words:
    """The words of a side in both folders, by the languages that it has in them."""
    pairs = ((own, old), (data, new))
    return Words(side, *(read_words(folder / f"dict.{language}.txt") for folder, language in pairs))


def read_words(path: Path) -> list[str]:
    """The words of a dictionary of fairseq's, its own symbols among them."""
    from fairseq.data import Dictionary

    if not path.is_file():
        raise UserError(f"there is no dictionary `{path}`: name the folder of the binarised data")
    return list(Dictionary.load(str(path)).symbols)


def check_words(state: dict[str, Any], sides: Sequence[Words], path: Path, own: Path) -> None:
    """Refuse dictionaries that are not the model's, or that it cannot have."""
    trained = fingerprints.held(state)
    for words in sides:
        for name in TABLES[words.side]:
            table = state["model"].get(name)
            differs = trained.get(words.side, present := fingerprints.of_words(words.old))
            if differs != present or (table is not None and len(table) != len(words.old)):
                raise UserError(
                    f"the {words.side} dictionary in `{own}` is not that which `{path}` was trained"
                    " with: name the folder of that data with `--trained-on`"
                )
    source, target = sides
    if shares_tables(state) and source.new != target.new:
        raise UserError(
            f"`{path}` has one table for both languages: their new dictionaries have to be equal"
        )


def shares_tables(state: dict[str, Any]) -> bool:
    """Whether both languages have one table."""
    return bool(settings.of(state)["model"].get("share_all_embeddings"))


def rows(table: torch.Tensor, known: Sequence[int], seed: int) -> torch.Tensor:
    """Rows `(V, C)` of the old table `(W, C)` by their old numbers, random ones for -1.

    Equal tables become equal ones: random rows depend on the seed and the sizes alone.
    """
    import torch

    dim = table.shape[1]
    made = torch.randn(len(known), dim, generator=torch.Generator().manual_seed(seed))
    made = (made * dim**-0.5).to(table.dtype)  # as fairseq initialises embeddings
    numbers = torch.tensor(known)
    made[numbers >= 0] = table[numbers[numbers >= 0]]
    return made


def as_adapted(
    state: dict[str, Any],
    model: dict[str, Any],
    sides: Sequence[Words],
    data: Path,
    languages: tuple[str, str],
) -> dict[str, Any]:
    """The checkpoint with these weights, of a training on this data that has not begun."""
    new = {"data": str(data), "source_lang": languages[0], "target_lang": languages[1]}
    for name, value in new.items():
        settings.change(state, "task", name, value)
    words = {one.side: fingerprints.of_words(one.new) for one in sides}
    extra = {fingerprints.KEY: {**words, **fingerprints.of_folder(data)}}
    return {**state, "model": model, "last_optimizer_state": None, "extra_state": extra}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx adapt``."""
    parser = argparse.ArgumentParser(prog="memtx adapt", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("checkpoint", type=Path, help="a translation model")
    add("--data", type=Path, required=True, help="folder of the binarised data to come")
    add("--out", type=Path, required=True, help="the checkpoint to write")
    add("--trained-on", type=Path, help="folder of the model's own data (default: as it names it)")
    add("--seed", type=int, default=1, help="of the rows of words that are new to it (default: 1)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx adapt``."""
    args = parse_args(argv)
    return command_line.run(
        lambda: adapt(args.checkpoint, args.data, args.out, args.trained_on, args.seed)
    )
