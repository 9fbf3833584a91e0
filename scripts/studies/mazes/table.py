"""The page and the plot of ``scripts.studies.maze``, from its records and no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground.figures import new_figure
from scripts.shared.benchmark import markdown, spread
from scripts.shared.plots import layers, look
from scripts.shared.tables import commit, joined
from scripts.studies.mazes.configs import MEMORIES, NOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scripts.shared.report import Figures

HEAD = ("memory", "runs", "parameters", "reward", "first part", "last part", "seconds")
CHANCE, PERFECT = "chance", "perfect memory"
#: Points of a curve, each the mean of as many updates.
POINTS = 30
GREY = "#666666"


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The page and the plot, for `scripts.shared.report`."""
    return page(found), {"reward": lambda: plot(found)}


def page(records: Sequence[dict]) -> str:
    """The whole page: a row for each memory between chance and perfect memory."""
    low, high = (records[0]["bounds"][name] for name in (CHANCE, PERFECT))
    rows = [
        bound_row(CHANCE, low),
        *(row(name, runs) for name, runs in by_memory(records).items()),
        bound_row(PERFECT, high),
    ]
    facts = [f"- {fact}" for fact in conditions(records)]
    plotted = "![Reward against moves, and within an episode](reward.png)"
    lines = [f"# {records[0]['experiment']}", "", *markdown(HEAD, rows), "", *facts, "", plotted]
    return "\n".join(lines) + "\n"


def by_memory(records: Sequence[dict]) -> dict[str, list[dict]]:
    """The records of each memory, in the order of `MEMORIES`."""
    found = {name: [r for r in records if r["memory"] == name] for name in MEMORIES}
    return {name: runs for name, runs in found.items() if runs}


def row(name: str, runs: Sequence[dict]) -> list[str]:
    """One memory, over seeds."""
    gained = [run["evaluation"] for run in runs]
    seconds = median(run["training"]["processor_seconds"] for run in runs)
    return [
        name,
        str(len(runs)),
        f"{runs[0]['parameters']:,}",
        spread([one["reward"] for one in gained]),
        spread([100 * one["by_part"][0] for one in gained], 1),
        spread([100 * one["by_part"][-1] for one in gained], 1),
        f"{seconds:.0f}",
    ]


def bound_row(name: str, gained: dict) -> list[str]:
    """Who does not learn."""
    first, *_, last = gained["by_part"]
    told = [f"{gained['reward']:.2f}", f"{100 * first:.1f}", f"{100 * last:.1f}"]
    return [f"*{name}*", "", "", *told, ""]


def conditions(records: Sequence[dict]) -> list[str]:
    """What the numbers mean and how they were taken."""
    first = records[0]
    setting, parts = first["setting"], len(first["evaluation"]["by_part"])
    seen = {run["memory"]: run["sees"] for run in records}
    return [
        f"One maze of {setting['size']} x {setting['size']} places. In an episode of"
        f" {setting['moves']} moves the goal stays at one hidden place; who reaches it is rewarded"
        " by 1 and put to another place drawn at random. Seen are the four walls around, the last"
        " move and whether it was rewarded.",
        f"reward: of an episode, mean of {setting['evaluated']:,} that are the same for all, after"
        " the training, moves drawn; median (least-most) over seeds. first part, last part: rewards"
        f" for 100 moves in the first and the last of the episode's {parts} parts. Who remembers"
        " where the goal was gains more in the last. seconds: processor time of the training.",
        f"{joined(records, lambda r: r['training']['updates'])} updates, each by"
        f" {setting['episodes']} episodes,"
        f" {joined(records, lambda r: format(r['training']['moves'], ','))} moves in all; proximal"
        f" policy optimization, {setting['passes']} passes over each update's episodes, discount"
        f" {setting['discount']}, Adam with the learning rate {setting['lr']}; the same for all;"
        " no value was searched for.",
        f"{layers(setting['layers'])}, {setting['dim']} dimensions, {setting['heads']} heads, no"
        " dropout, as language models of what is seen, with heads for moves and worth.",
        *(f"{name} sees {seen[name]}." for name in MEMORIES if name in seen),
        f"{CHANCE}: every move is drawn. {PERFECT}: knows the maze and its place, looks for the"
        " goal where it has not been, the nearest first, then goes the shortest way.",
        f"{joined(records, lambda r: r['threads'])} thread, float32, on"
        f" {joined(records, lambda r: r['hardware']['cpu'])}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(first["versions"].items()))
        + f". Commit {joined(records, commit)}.",
    ]


def plot(records: Sequence[dict]) -> Figure:
    """Reward in training against moves; reward by part of an episode after it."""
    figure, (course, within) = new_figure(2)
    for name, runs in by_memory(records).items():
        style = style_of(name)
        draw_course(course, runs, style)
        draw_parts(within, [run["evaluation"]["by_part"] for run in runs], style)
    chance, perfect = (records[0]["bounds"][name] for name in (CHANCE, PERFECT))
    for name, gained, line in ((PERFECT, perfect, "--"), (CHANCE, chance, ":")):
        style = {"color": GREY, "linestyle": line, "label": name}
        course.axhline(gained["reward"], **style)
        draw_parts(within, [gained["by_part"]], style)
    course.set_xlabel("moves of the training")
    course.set_ylabel("reward of an episode")
    course.xaxis.set_major_formatter("{x:,.0f}")
    course.tick_params(axis="x", labelsize="small")
    within.set_xlabel("part of an episode, after the training")
    within.set_ylabel("rewards for 100 moves")
    for panel in (course, within):
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    handles, labels = course.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=6,
        title="means over seeds; shades: least to most",
    )  # fmt: skip
    return figure


def style_of(name: str) -> dict[str, Any]:
    """Colour and name of a memory."""
    return {"color": look(name)["color"], "label": "no memory" if name == NOTHING else name}


def draw_course(panel: Axes, runs: Sequence[dict], style: dict[str, Any]) -> None:
    """Means of some updates at a time, over seeds."""
    points = [averaged(run["training"]["rewards"]) for run in runs]
    number = min(map(len, points))
    step = min(run["training"]["moves"] for run in runs) / number
    draw_spread(panel, [step * (at + 1) for at in range(number)], points, style)


def averaged(rewards: Sequence[float]) -> list[float]:
    """Means of equally many updates in a row, `POINTS` of them or a few less."""
    size = -(-len(rewards) // POINTS)
    return [mean(rewards[at : at + size]) for at in range(0, len(rewards), size)]


def draw_parts(panel: Axes, parts: Sequence[Sequence[float]], style: dict[str, Any]) -> None:
    """Rewards for 100 moves by part, over seeds."""
    scaled = [[100 * part for part in run] for run in parts]
    draw_spread(panel, list(range(1, len(scaled[0]) + 1)), scaled, style)


def draw_spread(
    panel: Axes, at: Sequence[float], runs: Sequence[Sequence[float]], style: dict[str, Any]
) -> None:
    """A line through the means of runs, and a shade from their least to their most."""
    columns = list(zip(*runs, strict=False))
    panel.plot(at, list(map(mean, columns)), **style)
    if len(runs) > 1:
        low, high = list(map(min, columns)), list(map(max, columns))
        panel.fill_between(at, low, high, color=style["color"], alpha=0.2, linewidth=0)
