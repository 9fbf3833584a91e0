"""The page and the plots of ``scripts.studies.state_tracking``, from its records and no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground.figures import new_figure
from scripts.shared.benchmark import spread
from scripts.shared.plots import COLOURS, MARKERS, layers
from scripts.shared.tables import commit, joined
from scripts.studies.programs.configs import CURRICULUM, RECIPES, SYSTEMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scripts.shared.report import Figures

#: Least distances of the groups, in words; the last has no end. `x ++ ; print x ;` is 3.
DISTANCES = (3, 4, 9, 17, 33, 65)
HEAD = ("decoder", "layers", "curriculum", "runs", "parameters", "accuracy")
END = ("minutes",)

#: What the authors say of theirs, in per cent (Fan et al. 2020 and their code's README).
AUTHORS = (
    ("the authors' Transformer", 8, {3: "33.7", 5: "37.5"}),
    ("the authors' Feedback Transformer", 4, {3: "99.1", 5: "92.6"}),
)
AUTHORS_NOTE = (
    "The rows of the authors are theirs (arXiv 2002.09402 and the README of their code): 256"
    " dimensions, 512 rows, 50,000 updates, 1.6 thousand million words. Elsewhere in that README"
    " the Transformer has 41.6 for the generator that they published, which this one follows."
)


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The page and the plots, for `scripts.shared.report`."""
    return page(found), {
        "accuracy_vs_depth": lambda: against_depth(found),
        "accuracy_vs_distance": lambda: against_distance(found),
    }


def page(records: Sequence[dict]) -> str:
    """The whole page: a row for each decoder, depth and recipe, and what the numbers mean."""
    columns = (*HEAD, *map(group_name, range(len(DISTANCES))), *END)
    lines = [
        f"# {records[0]['experiment']}",
        "",
        f"| {' | '.join(columns)} |",
        "|---" + "|---:" * (len(columns) - 1) + "|",
        *(row(runs) for runs in grouped(records)),
        *(theirs(records[0]["variables"], len(columns))),
        "",
        *(f"- {fact}" for fact in conditions(records)),
    ]
    return "\n".join(lines) + "\n"


def grouped(records: Sequence[dict]) -> list[list[dict]]:
    """The records of each row: of one decoder, depth and recipe, over seeds."""

    def key(record: dict) -> tuple[int, int, int]:
        decoder, recipe = record["decoder"], record["recipe"]
        return list(SYSTEMS).index(decoder), record["depth"], RECIPES.index(recipe)

    keys = sorted({key(record) for record in records})
    return [[record for record in records if key(record) == one] for one in keys]


def row(runs: Sequence[dict]) -> str:
    """One row, over seeds."""
    first = runs[0]
    with_curriculum = "yes" if first["recipe"] == CURRICULUM else "no"
    cells = [first["decoder"], str(first["depth"]), with_curriculum, str(len(runs))]
    cells += [f"{first['parameters']:,}", cell([accuracy(run["distances"]) for run in runs])]
    for number in range(len(DISTANCES)):
        cells.append(cell([accuracy(in_group(run["distances"], number)) for run in runs]))
    minutes = median(run["training"]["processor_seconds"] for run in runs) / 60
    return f"| {' | '.join([*cells, f'{minutes:.1f}'])} |"


def theirs(variables: int, columns: int) -> list[str]:
    """The rows of the authors' figures, where they have any for so many variables."""
    rows = [
        [f"*{name}*", str(depth), "", "", "", f"*{figures[variables]}*"]
        for name, depth, figures in AUTHORS
        if variables in figures
    ]
    return [f"| {' | '.join([*cells, *[''] * (columns - len(cells))])} |" for cells in rows]


def group_name(number: int) -> str:
    """The distances of a group in words."""
    low, following = DISTANCES[number], DISTANCES[number + 1 : number + 2]
    if not following:
        return f"{low}+"
    return str(low) if following[0] == low + 1 else f"{low}-{following[0] - 1}"


def in_group(distances: dict[str, list[int]], number: int) -> dict[str, list[int]]:
    """The counts of one group."""
    low, *rest = DISTANCES[number:]
    high = rest[0] if rest else float("inf")
    return {name: count for name, count in distances.items() if low <= int(name) < high}


def accuracy(distances: dict[str, list[int]]) -> float:
    """Per cent of the values that are right."""
    right, count = (sum(counts[part] for counts in distances.values()) for part in (0, 1))
    return 100 * right / count if count else float("nan")


def cell(values: Sequence[float]) -> str:
    """Median (least-most) over seeds; of one value itself."""
    return f"{values[0]:.1f}" if len(values) == 1 else spread(values, 1)


def conditions(records: Sequence[dict]) -> list[str]:
    """What the numbers mean and how they were taken."""
    first = records[0]
    counts = {name: sum(part[1] for part in in_group(first["distances"], number).values())
              for number, name in enumerate(map(group_name, range(len(DISTANCES))))}  # fmt: skip
    values = sum(counts.values())
    sizes = first["sizes"]
    facts = [
        f"accuracy: per cent of the printed values of {first['data']['test']:,} test programs"
        f" ({values:,} values) that are right, one in ten by chance; median (least-most) over"
        " seeds. To the right of it the same by the words since the variable last changed ("
        + ", ".join(f"{name}: {count:,} values" for name, count in counts.items())
        + "). Memory is carried along a text of all programs in a row.",
        f"{joined(records, lambda r: r['training']['updates'])} updates of {first['rows']} rows of"
        f" {first['block']} words, of which about one in seventeen has a label;"
        f" {sizes['embed_dim']} dimensions, {sizes['ffn_dim']} in the feed-forward networks,"
        f" {sizes['heads']} heads, no dropout. minutes: processor time of the training.",
        *(described(recipe, records) for recipe in RECIPES if any_of(records, "recipe", recipe)),
        *(
            f"{name} sees {found[0]['sees']}."
            for name in SYSTEMS
            if (found := any_of(records, "decoder", name))
        ),
        AUTHORS_NOTE,
        f"{joined(records, lambda r: r['threads'])} thread, products in"
        f" {joined(records, lambda r: r['math'])}, on"
        f" {joined(records, lambda r: r['hardware']['cpu'])}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items()))
        + f". Commit {joined(records, commit)}.",
    ]
    return facts


def any_of(records: Sequence[dict], field: str, value: str) -> list[dict]:
    """The records with this value."""
    return [record for record in records if record[field] == value]


def described(recipe: str, records: Sequence[dict]) -> str:
    """What a recipe reads."""
    *short, whole = any_of(records, "recipe", recipe)[0]["stages"]
    name = "With the curriculum" if recipe == CURRICULUM else "Without a curriculum"
    first = "".join(
        f"{one['programs']:,} programs of {one['statements']} statements, then " for one in short
    )
    return f"{name}: {first}programs of {whole['statements']} statements ({whole['programs']:,})."


def look(decoder: str) -> dict[str, Any]:
    """Colour and marker."""
    carried = {"transformer-carried": ("#55a868", "D")}
    colour, marker = carried.get(decoder, (COLOURS.get(decoder), MARKERS.get(decoder)))
    return {"color": colour, "marker": marker, "label": decoder}


def panels_of(records: Sequence[dict]) -> tuple[Figure, list[tuple[str, Axes]]]:
    """A figure with a panel for each recipe there is."""
    recipes = [name for name in RECIPES if any_of(records, "recipe", name)]
    figure, panels = new_figure(len(recipes))
    for name, panel in zip(recipes, panels, strict=True):
        panel.set_title("short programs first" if name == CURRICULUM else "whole programs")
        panel.set_ylabel("accuracy, %")
        panel.set_ylim(0, 102)
        panel.grid(alpha=0.3)
    return figure, list(zip(recipes, panels, strict=True))


def add_legend(figure: Figure, panels: Sequence[tuple[str, Axes]]) -> None:
    """One legend below all panels, each name once."""
    found: dict[str, Any] = {}
    for _, panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend([*found.values()], [*found], loc="outside lower center", ncols=3)


def against_depth(records: Sequence[dict]) -> Figure:
    """Accuracy by number of layers: a curve through the medians, a point for each run."""
    figure, panels = panels_of(records)
    for recipe, panel in panels:
        for decoder in SYSTEMS:
            own = any_of(any_of(records, "recipe", recipe), "decoder", decoder)
            depths = sorted({record["depth"] for record in own})
            by_depth = [[accuracy(r["distances"]) for r in own if r["depth"] == d] for d in depths]
            if not own:
                continue
            style = look(decoder)
            panel.plot(depths, list(map(median, by_depth)), **style)
            for depth, values in zip(depths, by_depth, strict=True):
                panel.scatter([depth] * len(values), values, s=8, color=style["color"])
        panel.set_xlabel("layers")
        panel.set_xticks(sorted({record["depth"] for record in records}))
    add_legend(figure, panels)
    return figure


def against_distance(records: Sequence[dict]) -> Figure:
    """Accuracy by distance, of each decoder at its best depth (by the median over seeds)."""
    figure, panels = panels_of(records)
    names = [group_name(number) for number in range(len(DISTANCES))]
    for recipe, panel in panels:
        for decoder in SYSTEMS:
            own = any_of(any_of(records, "recipe", recipe), "decoder", decoder)
            rows = grouped(own)
            if not rows:
                continue
            best = max(rows, key=lambda runs: median(accuracy(r["distances"]) for r in runs))
            values = [
                median(accuracy(in_group(run["distances"], number)) for run in best)
                for number in range(len(DISTANCES))
            ]
            style = look(decoder)
            style["label"] = f"{decoder}, {layers(best[0]['depth'])}"
            panel.plot(names, values, **style)
        panel.set_xlabel("words since the variable last changed")
        panel.legend(fontsize="small")
    return figure
