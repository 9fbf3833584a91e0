"""The plots of an experiment of several recipes, widths, seeds and beams, from its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground.figures import new_figure
from scripts.grid.groups import Group, batches_of, beams_of, groups_of
from scripts.shared import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Lines of the second recipe, the second width and so on.
DASHES = ("-", "--", ":", "-.")


def bleu_against_speed(records: Sequence[dict]) -> Figure:
    """BLEU against words a second: a column of panels for each batch size, a row for each beam.

    A curve is a decoder of one recipe and width, a point of it a depth: medians over seeds, with
    bars from the least to the most.
    """
    batches, beams = batches_of(records), beams_of(records)
    figure, panels = new_figure(len(batches), len(beams))
    curves = curves_of(records)
    labels = labels_of(curves)
    for number, panel in enumerate(panels):
        beam, batch = beams[number // len(batches)], batches[number % len(batches)]
        every = []
        for index, groups in enumerate(curves):
            points = [
                plots.Point(group.depth, group.speed(beam, batch), group.bleu(beam))
                for group in groups
            ]
            is_main = groups[0].width == max(group.width for each in curves for group in each)
            style = {**plots.look(groups[0].decoder), "linestyle": dash(curves, groups)}
            plots.draw_curve(panel, points, style, hollow=not is_main, label=labels[index])
            every += points
        plots.draw_front(panel, plots.pareto_front(every))
        plots.label_speed(panel, f"beam {beam}, batch {batch}")
    figure.legend(  # below the panels, where it covers no point
        *panels[0].get_legend_handles_labels(),
        title="numbers: decoder layers; bars: least to most",
        loc="outside lower center",
        ncols=4,
    )
    return figure


def curves_of(records: Sequence[dict]) -> list[list[Group]]:
    """The groups of each curve, by depth: those alike in decoder, recipe and width."""
    curves: dict[tuple, list[Group]] = {}
    for group in groups_of(records):
        curves.setdefault((group.decoder, group.recipe, group.width), []).append(group)
    return [sorted(curve, key=lambda group: group.depth) for curve in curves.values()]


def labels_of(curves: Sequence[Sequence[Group]]) -> list[str]:
    """The name of each curve: its decoder, and what else tells it from others."""
    recipes = {curve[0].recipe for curve in curves}
    widths = {curve[0].width for curve in curves}
    labels = []
    for curve in curves:
        parts = [curve[0].decoder]
        parts += [curve[0].recipe] if len(recipes) > 1 else []
        parts += [f"{curve[0].width} dimensions"] if len(widths) > 1 else []
        labels.append(", ".join(parts))
    return labels


def dash(curves: Sequence[Sequence[Group]], groups: Sequence[Group]) -> str:
    """A line style for the recipe."""
    recipes = list(dict.fromkeys(curve[0].recipe for curve in curves))
    return DASHES[recipes.index(groups[0].recipe) % len(DASHES)]


def training_curves(records: Sequence[dict]) -> Figure:
    """Validation loss against updates: a panel for each depth, a line for each run.

    Seeds of one group share a line style, and a name in the legend.
    """
    depths = sorted({record["depth"] for record in records})
    figure, panels = new_figure(len(depths))
    curves = curves_of(records)
    labels = labels_of(curves)
    for depth, panel in zip(depths, panels, strict=True):
        for index, curve in enumerate(curves):
            for group in curve:
                if group.depth == depth:
                    draw_losses(panel, group, labels[index], dash(curves, curve))
        panel.set_title(plots.layers(depth))
        panel.set_xlabel("updates")
        panel.set_ylabel("validation loss, bits a subword")
        panel.grid(alpha=0.3)
        panel.legend()
    return figure


def draw_losses(panel: Any, group: Group, label: str, dashes: str) -> None:
    """A line for each seed, of which one has the label."""
    for number, record in enumerate(group.records):
        losses = record["training"]["curves"]["valid_nll_loss"]
        panel.plot(
            [updates for updates, _ in losses],
            [loss for _, loss in losses],
            label=None if number else label,
            color=plots.look(group.decoder)["color"],
            linestyle=dashes,
            linewidth=1.3 if number == 0 else 0.8,
        )
