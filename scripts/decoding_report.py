"""Table and plots of a decoding benchmark, from its record and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from scripts.benchmark import markdown
from scripts.plots import COLOURS, MARKERS, new_figure
from scripts.tables import commit, rate, words_per_second

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {"plain": ":", "fast": "-", "int8": "--", "shortlist": "-."}  # by a mode's last word
RIVAL = "#55a868"
OTHERS = {"transformer-xl": "#8172b3", "compressive": "#937860"}


def page(record: dict) -> str:
    """The whole page: speed, then latency and memory, and what they rest on."""
    lines = [f"# Decoding: {record['name']}", "", *speeds(record), "", *costs(record), ""]
    lines += [*differences(record), ""] if record.get("differences") else []
    return "\n".join([*lines, *(f"- {fact}" for fact in facts(record)), ""])


def speeds(record: dict) -> list[str]:
    """The table of words a second and BLEU; ``*`` marks output that differed between repeats."""
    batches = [speed["batch"] for speed in record["systems"][0]["speed"]]
    with_bleu = not record.get("untrained")
    header = ["system", "architecture", "layers", "mode", *(["BLEU"] if with_bleu else [])]
    header += [f"words/s, batch {batch}" for batch in batches]
    header += [f"tokens/s, batch {batch}" for batch in batches]
    rows = [
        [
            system["name"],
            system["architecture"],
            f"{system['encoder_layers']}-{system['depth']}",
            system["mode"],
            *([f"{system['bleu']['score']:.2f}"] if with_bleu else []),
            *(rate(speed) for speed in system["speed"]),
            *(f"{tokens_per_second(speed):,.0f}" for speed in system["speed"]),
        ]
        for system in record["systems"]
    ]
    return markdown(header, rows, words=2)


def tokens_per_second(speed: dict) -> float:
    """Median over the repeats, in subwords, the end of the sentence included."""
    return speed["tokens"] / median(speed["seconds"])


def costs(record: dict) -> list[str]:
    """The table of latency, memory and output."""
    header = ["system", "p50 ms", "p90 ms", "p99 ms", "loaded MiB", "peak MiB", "state B/token"]
    header += ["length", "output"]
    return markdown(header, [cost_row(system) for system in record["systems"]])


def cost_row(system: dict) -> list[str]:
    """The cells of one system."""
    single = next((speed for speed in system["speed"] if "latency" in speed), None)
    latency = single["latency"] if single else {}
    peak, state, last = system["peak_bytes"], system["state"], system["speed"][-1]
    return [
        system["name"],
        *(f"{1e3 * latency[p]:.1f}" if p in latency else "" for p in ("50", "90", "99")),
        f"{system['loaded_bytes'] / 2**20:,.0f}",
        "" if peak is None else f"{peak / 2**20:,.0f}",
        "" if state is None else f"{state['bytes_per_token']:,.0f}",
        f"{last['length_ratio']:.3f}",
        f"`{system.get('hypotheses_sha256', last['output_sha256'])[:8]}`",
    ]


def differences(record: dict) -> list[str]:
    """The table of differences of BLEU that were tested."""
    header = ["system", "against", "BLEU difference", "p"]
    rows = [
        [one["system"], one["baseline"], f"{one['difference']:+.2f}", f"{one['p_value']:.3f}"]
        for one in record["differences"]
    ]
    return markdown(header, rows, words=2)


def facts(record: dict) -> list[str]:
    """What the numbers mean and under what conditions they were taken."""
    search, systems, hardware = record["search"], record["systems"], record["hardware"]
    first = systems[0]["speed"]
    lines = ", ".join(f"batch {speed['batch']}: {speed['lines']:,} lines" for speed in first)
    same = all(speed["identical_output"] for system in systems for speed in system["speed"])
    found = [
        f"words/s: detokenised output words a second, median (slowest-fastest) of"
        f" {len(first[0]['seconds'])} repeats, interleaved between all systems in one process,"
        f" after a warm-up; {lines}. Timed: the search with the encoder. Not timed: loading,"
        " tokenising, batching, detokenising. Systems whose ranges overlap are not ranked.",
        f"Search: beam {search['beam']}, length penalty {search['lenpen']:g}, at most"
        f" {search['max_len'][0]:g} times the source and {search['max_len'][1]:g} subwords, at"
        f" least {search['min_len']}.",
        "layers: encoder-decoder. p50, p90, p99: latency of a single sentence. loaded: growth of"
        " the process by loading the system. peak: further growth while it translates the longest"
        f" batch of {first[-1]['batch']}. state B/token: kept for each target token of one"
        " hypothesis. length: output words over reference words. output: SHA-256 of the text.",
        "All repeats of a system gave the same output." if same
        else "* The output differed between repeats.",
        f"{record['threads']} thread(s) for every system, {record['clock']} time,"
        f" {hardware['cpu']}, {hardware['cores']} cores, commit {commit(record)}; versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items())),
        f"`{record['command']}`",
    ]  # fmt: skip
    return [*of_quality(record), *found]


def of_quality(record: dict) -> list[str]:
    """What the BLEU scores are, or why there are none."""
    if record.get("untrained"):
        return ["The models are untrained and their output is noise of forced length: speed alone."]
    signatures = sorted({system["bleu"]["signature"] for system in record["systems"]})
    return [
        f"BLEU `{', '.join(signatures)}`, of {record['test_lines']:,} lines in batches of"
        f" {record['quality_batch']}; the text is in `hypotheses/`, under its hash.",
        "p: sacreBLEU's paired bootstrap, 1,000 samples. Each architecture stands against the"
        " Transformer of its depth in the same mode, each mode against the same model in float;"
        " pairs with the same text are left out, and those that stand there already.",
    ]


def figure(record: dict) -> Figure:
    """BLEU against words a second, a panel for each batch size.

    A curve for each architecture and mode over its depths, bars from the slowest to the fastest
    repeat, and the Pareto front of all systems.
    """
    batches = [speed["batch"] for speed in record["systems"][0]["speed"]]
    drawn, panels = new_figure(len(batches))
    systems = [system for system in record["systems"] if "bleu" in system]
    for index, (panel, batch) in enumerate(zip(panels, batches, strict=True)):
        for architecture, mode in dict.fromkeys((s["architecture"], s["mode"]) for s in systems):
            own = [s for s in systems if (s["architecture"], s["mode"]) == (architecture, mode)]
            draw_curve(panel, sorted(own, key=lambda system: system["depth"]), index)
        draw_front(panel, pareto_front([point(system, index) for system in systems]))
        panel.set_title(f"batch {batch}")
        panel.set_xlabel("detokenised words a second")
        panel.set_ylabel("BLEU")
        panel.grid(alpha=0.3)
    drawn.set_figheight(drawn.get_figheight() + 1.6)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small")
    return drawn


def point(system: dict, index: int) -> tuple[float, float]:
    """Median words a second at the ``index``-th batch size, and BLEU."""
    return words_per_second(system["speed"][index])[0], system["bleu"]["score"]


def draw_curve(panel: Axes, systems: Sequence[dict], index: int) -> None:
    """The systems of one architecture and mode, by depth."""
    rates = [words_per_second(system["speed"][index]) for system in systems]
    bleus = [system["bleu"]["score"] for system in systems]
    architecture, mode = systems[0]["architecture"], systems[0]["mode"]
    rival = mode.startswith("ct2")
    panel.errorbar(
        [middle for middle, _, _ in rates],
        bleus,
        xerr=[[m - low for m, low, _ in rates], [high - m for m, _, high in rates]],
        label=f"{architecture}, {mode}",
        color=RIVAL if rival else (COLOURS | OTHERS).get(architecture),
        marker="D" if rival else MARKERS.get(architecture, "^"),
        fillstyle="none" if "int8" in mode else "full",
        linestyle=STYLES.get(mode.split("+")[-1], "-"),
        capsize=2,
    )
    for system, (middle, _, _), score in zip(systems, rates, bleus, strict=True):
        panel.annotate(
            str(system["depth"]), (middle, score), textcoords="offset points", xytext=(4, 4)
        )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that none other beats in both coordinates, the fastest last."""
    front: list[tuple[float, float]] = []
    for speed, score in sorted(points, key=lambda one: (-one[0], -one[1])):
        if not front or score > front[-1][1]:
            front.append((speed, score))
    return front[::-1]


def draw_front(panel: Axes, front: Sequence[tuple[float, float]]) -> None:
    """A step line through the front, under everything else."""
    panel.plot(
        [speed for speed, _ in front],
        [score for _, score in front],
        drawstyle="steps-pre",
        color="#999999",
        linewidth=4,
        alpha=0.35,
        zorder=0,
        label="Pareto front",
    )
