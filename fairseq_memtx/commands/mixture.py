"""The learned mixture of the Feedback decoder: what its memories are made of, while it learned.

``memtx mixture train.log checkpoint_best.pt --out mixture`` prints the weight of each
state, from a training's log (``--log-format json``) the last one and from a checkpoint its own, and
plots those of the logs against the updates (PNG and SVG); of several channels one by one. Routed
weights differ from token to token: a log has their mean over a batch, a checkpoint only what they
are where the states say nothing.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
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
_ROUTER = "decoder.memory.mixture.router"


@dataclass(frozen=True)
class Mixtures:
    """What one file says of one channel.

    ``weights`` has a row for each of ``updates``: the weights of the embedding and of each layer's
    output, which sum to one. ``channel`` is None where there is one channel.
    """

    path: Path
    is_log: bool
    updates: list[int]
    weights: list[list[float]]
    channel: int | None = None

    @property
    def name(self) -> str:
        """The file, and the channel where there are several."""
        return str(self.path) if self.channel is None else f"{self.path} (channel {self.channel})"


def read(path: Path) -> list[Mixtures]:
    """The mixtures of each channel in a training's log or in a checkpoint.

    Raises:
        UserError: no such file, or one without a learned mixture.
    """
    if not path.is_file():
        raise UserError(f"there is no file `{path}`: name a training's log or a checkpoint")
    with path.open("rb") as stream:
        is_log = not stream.read(2).startswith(_CHECKPOINT_STARTS)
    return read_log(path) if is_log else read_checkpoint(path)


def read_log(path: Path) -> list[Mixtures]:
    """Every mixture that a training has logged; of those of one update the last counts."""
    found: dict[int | None, dict[int, list[float]]] = {}
    for event in LogReader(path).poll():
        for channel, weights in logged(event.values):
            found.setdefault(channel, {})[event.updates] = weights
    if not found:
        raise UserError(
            f"`{path}` names no mixture: give the output of a training with a learned mixture and"
            " --log-format json"
        )
    return [
        Mixtures(path, True, sorted(rows), [rows[update] for update in sorted(rows)], channel)
        for channel, rows in found.items()
    ]


def logged(values: Mapping[str, float]) -> Iterator[tuple[int | None, list[float]]]:
    """The channels of a line of a log, None for the only one, with their weights."""
    for channel in (None, *range(999)):
        prefix = "mixture_" if channel is None else f"mixture_{channel}_"
        names = itertools.takewhile(values.__contains__, (f"{prefix}{n}" for n in range(999)))
        weights = [values[name] for name in names]
        if weights:
            yield channel, weights
        elif channel is not None:
            return


def read_checkpoint(path: Path) -> list[Mixtures]:
    """The mixtures in a checkpoint."""
    from fairseq_memtx.checkpoints.weights import check_finite

    state = checkpoints.load(path)
    parameter = state["model"].get(_PARAMETER)
    if parameter is None:
        raise UserError(f"the model of `{path}` has no learned mixture")
    check_finite({_PARAMETER: parameter}, path)
    if _ROUTER in state["model"]:
        logger.warning(
            "%s: its weights differ from token to token; these are what they are where the states"
            " say nothing, a log has their mean over a batch",
            path,
        )
    updates = [checkpoints.describe(path, state).updates]
    rows = parameter.double().view(-1, parameter.size(-1)).softmax(-1).tolist()
    channels = range(len(rows)) if len(rows) > 1 else [None]
    return [
        Mixtures(path, False, updates, [row], channel)
        for channel, row in zip(channels, rows, strict=True)
    ]


def state_name(number: int) -> str:
    """What a mixture's weight stands for."""
    return "embedding" if number == 0 else f"layer {number}"


def table(found: Sequence[Mixtures]) -> str:
    """The last mixture of each file and channel, a line each."""
    states = max(len(item.weights[-1]) for item in found)
    width = max(len(item.name) for item in found)
    names = [state_name(number) for number in range(states)]
    lines = [f"{'file':<{width}} {'updates':>9}" + "".join(f" {name:>9}" for name in names)]
    for item in found:
        cells = "".join(f" {weight:>9.4f}" for weight in item.weights[-1])
        lines.append(f"{item.name:<{width}} {item.updates[-1]:>9,}{cells}")
    return "\n".join(lines) + "\n"


def curves(logs: Sequence[Mixtures]) -> Figure:
    """Weights against updates, a panel for each log and channel, a curve for each state."""
    figure, panels = figures.new_figure(len(logs))
    for panel, log in zip(panels, logs, strict=True):
        draw_states(panel, log)
        panel.set_title(log.name, fontsize="small")
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
    found = [item for path in paths for item in read(path)]
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
