"""How many printed values a trained model tells right, by how long ago the variable changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_prep.programs import run_program

if TYPE_CHECKING:
    from torch import Tensor

#: Counts `[right, all]` by distance, which is a word: JSON has no other names.
Counts = dict[str, list[int]]


class Printed(NamedTuple):
    """A value to be told.

    Attributes:
        position: in the text of all programs, where each ends with fairseq's symbol.
        start: the position at which its program begins.
        value: what the program prints.
        distance: words since the variable last changed.
    """

    position: int
    start: int
    value: str
    distance: int


def printed_in(programs: Sequence[list[str]]) -> list[Printed]:
    """All values of programs that follow each other in one text."""
    found, start = [], 0
    for words in programs:
        found += [Printed(start + at, start, value, ago) for at, value, ago in run_program(words)]
        start += len(words) + 1
    return found


def count_right(told: Sequence[str], printed: Sequence[Printed], row: int) -> Counts:
    """Compare what a model said of each position with what is printed.

    Args:
        told: a label for each position of the text.
        printed: as `printed_in` has it.
        row: positions of a row. What is printed by a program whose beginning stands in the row
            before is left out: the model has not seen it.
    """
    counts: Counts = {}
    for one in printed:
        if one.position // row == one.start // row:
            count = counts.setdefault(str(one.distance), [0, 0])
            count[0] += told[one.position] == one.value
            count[1] += 1
    return dict(sorted(counts.items(), key=lambda item: int(item[0])))


def score(checkpoint: Path, data: Path, split: str, rows: int) -> Counts:
    """Counts of a trained model on a split of ``memtx prepare programs``.

    Args:
        checkpoint: of fairseq-train.
        data: the folder whose `bin` and `text` hold the split.
        rows: that the text is cut into, with memory carried along each.
    """
    from fairseq import checkpoint_utils

    import fairseq_memtx.plugin  # noqa: F401

    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": str(data / "bin")}
    )
    task.load_dataset(split)
    labels = predictions(model.eval(), task, split, rows)
    row = labels.size(1)
    told = [task.output_dictionary[number] for number in labels.view(-1).tolist()]
    lines = (data / "text" / f"{split}.words").read_text(encoding="utf-8").splitlines()
    return count_right(told, printed_in([line.split() for line in lines]), row)


def predictions(model, task, split: str, rows: int) -> Tensor:
    """The likeliest label of each position `(rows, positions of a row)`."""
    import torch

    batches = task.eval_lm_dataloader(task.dataset(split), batch_size=rows)
    with torch.inference_mode():
        return torch.cat(
            [model(**batch["net_input"])[0].argmax(dim=-1) for batch in batches], dim=1
        )
