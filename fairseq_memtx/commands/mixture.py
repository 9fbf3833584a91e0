"""The learned mixture of the Feedback decoder: what its memories are made of, while it learned.

``memtx mixture train.log checkpoint_best.pt --out mixture`` prints the weight of each
state, from a training's log (``--log-format json``) the last one and from a checkpoint its own, and
plots those of the logs against the updates (PNG and SVG).
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx import checkpoints
from fairseq_memtx.ground import command_line, figures
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.writing import check_output
from fairseq_memtx.training_log import LogReader

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

#: How a checkpoint begins: a zip archive, or the pickle of older versions of torch.
_CHECKPOINT_STARTS = (b"PK", b"\x80\x02")
_PARAMETER = "decoder.memory.mixture.weight"


@dataclass(frozen=True)
class Mixtures:
    """What one file says.

    ``weights`` has a row for each of ``updates``: the weights of the embedding and of each layer's
    output, which sum to one.
    """

    path: Path
    is_log: bool
    updates: list[int]
    weights: list[list[float]]


def read(path: Path) -> Mixtures:
    """The mixtures in a training's log or in a checkpoint.

    Raises:
        UserError: no such file, or one without a learned mixture.
    """
    if not path.is_file():
        raise UserError(f"there is no file `{path}`: name a training's log or a checkpoint")
    with path.open("rb") as stream:
        is_log = not stream.read(2).startswith(_CHECKPOINT_STARTS)
    return read_log(path) if is_log else read_checkpoint(path)


def read_log(path: Path) -> Mixtures:
    """Every mixture that a training has logged; of those of one update the last counts."""
    found: dict[int, list[float]] = {}
    for event in LogReader(path).poll():
        names = itertools.takewhile(event.values.__contains__, map("mixture_{}".format, range(999)))
        weights = [event.values[name] for name in names]
        if weights:
            found[event.updates] = weights
    if not found:
        raise UserError(
            f"`{path}` names no mixture: give the output of a training with a learned mixture and"
            " --log-format json"
        )
    updates = sorted(found)
    return Mixtures(path, True, updates, [found[update] for update in updates])


def read_checkpoint(path: Path) -> Mixtures:
    """The mixture in a checkpoint."""
    from fairseq_memtx.checkpoints.weights import check_finite

    state = checkpoints.load(path)
    parameter = state["model"].get(_PARAMETER)
    if parameter is None:
        raise UserError(f"the model of `{path}` has no learned mixture")
    check_finite({_PARAMETER: parameter}, path)
    weights = parameter.double().softmax(0).tolist()
    return Mixtures(path, False, [checkpoints.describe(path, state).updates], [weights])


def state_name(number: int) -> str:
    """What a mixture's weight stands for."""
    return "embedding" if number == 0 else f"layer {number}"


def table(found: Sequence[Mixtures]) -> str:
    """The last mixture of each file, a line each."""
    states = max(len(item.weights[-1]) for item in found)
    width = max(len(str(item.path)) for item in found)
    names = [state_name(number) for number in range(states)]
    lines = [f"{'file':<{width}} {'updates':>9}" + "".join(f" {name:>9}" for name in names)]
    for item in found:
        cells = "".join(f" {weight:>9.4f}" for weight in item.weights[-1])
        lines.append(f"{item.path!s:<{width}} {item.updates[-1]:>9,}{cells}")
    return "\n".join(lines) + "\n"


def curves(logs: Sequence[Mixtures]) -> Figure:
    """Weights against updates, a panel for each log, a curve for each state."""
    figure, panels = figures.new_figure(len(logs))
    for panel, log in zip(panels, logs, strict=True):
        draw_states(panel, log)
        panel.set_title(str(log.path), fontsize="small")
    return figure


def draw_states(panel: Axes, log: Mixtures) -> None:
    """The curves of one log, from dark (the embedding) to light (the last layer)."""
    from matplotlib import colormaps

    colours = colormaps["viridis"].resampled(len(log.weights[-1]) + 1)
    for number, weights in enumerate(zip(*log.weights, strict=True)):
        label, colour = state_name(number), colours(number)
        panel.plot(log.updates, weights, label=label, color=colour, marker=".", markersize=3)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("updates")
    panel.set_ylabel("weight in the memory")
    panel.grid(alpha=0.3)
    panel.legend()


def show(paths: Sequence[Path], out: Path | None) -> None:
    """Print the table, and draw the logs' curves where asked to."""
    for name in [] if out is None else figures.names(out):
        check_output(name, "--out", paths)
    found = [read(path) for path in paths]
    sys.stdout.write(table(found))
    if out is None:
        return
    logs = [item for item in found if item.is_log]
    if not logs:
        raise UserError("`--out` needs a training's log to plot: there are only checkpoints")
    written = figures.save(curves(logs), out)
    logger.info("plots: %s", ", ".join(map(str, written)))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx mixture``."""
    parser = argparse.ArgumentParser(prog="memtx mixture", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="logs of fairseq-train, checkpoints")
    parser.add_argument("--out", type=Path, metavar="FILE", help="plot to FILE.png and FILE.svg")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx mixture``."""
    args = parse_args(argv)
    return command_line.run(lambda: show(args.files, args.out))
