"""Table and plots of a decoding benchmark, from its record and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from fairseq_memtx.ground import figures
from scripts.bench_decoding.quality import BASELINE, partner
from scripts.shared import plots
from scripts.shared.benchmark import markdown, spread
from scripts.shared.tables import commit, rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

RIVAL: dict[str, Any] = {"color": "#55a868", "marker": "D"}
RIVAL_LABEL = "transformer in CTranslate2"
LEGEND_COLUMNS = 2  # as wide as a panel
PANEL_INCHES = 4.2, 3.6  # small, so that letters are large where a page is as wide as the figure


def page(record: dict) -> str:
    """The whole page: speed, then latency and memory, and what they rest on."""
    name = record["name"]
    plot = [] if record.get("untrained") else [f"![BLEU against words a second]({name}.png)", ""]
    lines = [f"# Decoding: {name}", "", *plot, *speeds(record), "", *costs(record), ""]
    lines += [*ratios(record), ""] if rate_pairs(record["systems"]) else []
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
    return markdown(header, rows, words=4)


def tokens_per_second(speed: dict) -> float:
    """Median over the repeats, in subwords, the end of the sentence included."""
    return speed["tokens"] / median(speed["seconds"])


def ratios(record: dict) -> list[str]:
    """The table of rates relative to another system's, by `rate_pairs`."""
    batches = [speed["batch"] for speed in record["systems"][0]["speed"]]
    header = ["system", "relative to", *(f"batch {batch}" for batch in batches)]
    rows = [
        [system["name"], other["name"], *map(ratio, system["speed"], other["speed"])]
        for system, other in rate_pairs(record["systems"])
    ]
    return markdown(header, rows, words=2)


def ratio(speed: dict, other: dict) -> str:
    """Median (least-most) over the repeats, each of which has both systems in one turn."""
    words = speed["words"] / other["words"]
    found = [
        words * theirs / ours
        for ours, theirs in zip(speed["seconds"], other["seconds"], strict=True)
    ]
    return spread(found)


def rate_pairs(systems: Sequence[dict]) -> list[tuple[dict, dict]]:
    """Whose rates are set against each other: each architecture's against the Transformer's in the
    same mode, and that of each mode of our own against the rival's, in eight bits where ours is,
    with a shortlist and without where ours has one. Always of one depth, the first of several seeds
    against the first, and so on.
    """
    found = []
    for system in systems:
        words = system["mode"].split("+")
        if system["architecture"] != BASELINE:
            found += partner(systems, system, system["mode"])
        if words[0] in ("fast", "graph"):
            rest = [word for word in words[1:] if word != "shortlist"]
            for mode in dict.fromkeys(("+".join(["ct2", *rest]), "+".join(["ct2", *words[1:]]))):
                found += partner(systems, system, mode)
    return found


def costs(record: dict) -> list[str]:
    """The table of latency, memory and output."""
    header = ["system", "p50 ms", "p90 ms", "p99 ms", "loaded MiB", "peak MiB", "state B/token"]
    header += ["length", "output"]
    return markdown(header, [cost_row(system) for system in record["systems"]])


def cost_row(system: dict) -> list[str]:
    """The cells of one system."""
    single = next((speed for speed in system["speed"] if "latency" in speed), None)
    latency = single["latency"] if single else {}
    state, last = system["state"], system["speed"][-1]
    return [
        system["name"],
        *(f"{1e3 * latency[p]:.1f}" if p in latency else "" for p in ("50", "90", "99")),
        mebibytes(system["loaded_bytes"]),
        mebibytes(system["peak_bytes"]),
        "" if state is None else f"{state['bytes_per_token']:,.0f}",
        f"{system.get('length_ratio', last['length_ratio']):.3f}",
        f"`{system.get('hypotheses_sha256', last['output_sha256'])[:8]}`",
    ]


def mebibytes(count: int | None) -> str:
    """Of so many bytes; nothing where they are not known."""
    return "" if count is None else f"{count / 2**20:,.0f}"


def differences(record: dict) -> list[str]:
    """The table of differences of BLEU that were tested."""
    header = ["system", "against", "lines that differ", "BLEU difference", "p"]
    rows = [
        [
            one["system"],
            one["baseline"],
            f"{one['lines']:,}" if "lines" in one else "",
            f"{one['difference']:+.2f}",
            f"{one['p_value']:.3f}",
        ]
        for one in record["differences"]
    ]
    return markdown(header, rows, words=2)


def facts(record: dict) -> list[str]:
    """What the numbers mean and under what conditions they were taken."""
    search = record["search"]
    found = [
        *of_quality(record),
        of_speed(record),
        f"Search: beam {search['beam']}, length penalty {search['lenpen']:g}, at most"
        f" {search['max_len'][0]:g} times the source and {search['max_len'][1]:g} subwords, at"
        f" least {search['min_len']}.",
        of_costs(record),
    ]
    if not all(speed["identical_output"] for s in record["systems"] for speed in s["speed"]):
        found.append("* The output differed between repeats.")
    else:
        found.append("All repeats of a system gave the same output.")
    found += [f"Warning while this was measured: {line}" for line in record.get("warnings", [])]
    return [*found, conditions(record), f"`{record['command']}`"]


def of_speed(record: dict) -> str:
    """What a rate is."""
    first = record["systems"][0]["speed"]
    lines = ", ".join(f"batch {speed['batch']}: {speed['lines']:,} lines" for speed in first)
    sessions = record.get("sessions", 1)
    process = "one process" if sessions == 1 else f"one process for each of {sessions} parts"
    return (
        "words/s: detokenised output words a second, median (slowest-fastest) of"
        f" {len(first[0]['seconds'])} repeats, interleaved between all systems in {process},"
        f" after a warm-up; {lines}. Timed: the search with the encoder. Not timed: loading,"
        " tokenising, batching, detokenising. tokens/s: subwords, the end of a sentence included."
        " Systems whose ranges overlap are not ranked. Relative rates: median (least-most) over the"
        " repeats, in each of which all systems take their turn."
    )


def of_costs(record: dict) -> str:
    """What the columns of the second table are."""
    batch = record["systems"][0]["speed"][-1]["batch"]
    whole = all("length_ratio" in system for system in record["systems"])
    length = "of the whole test set" if whole else f"of the lines timed in batches of {batch}"
    memory = "the process" if device(record) == "cpu" else "the memory that torch holds on the GPU"
    blank = "" if device(record) == "cpu" else " CTranslate2's is not known to torch."
    return (
        "layers: encoder-decoder. p50, p90, p99: latency of a single sentence, of all lines of"
        f" batch 1 and all repeats. loaded: growth of {memory} by loading the system. peak: further"
        f" growth while it translates a batch of {batch}.{blank} state: bytes that are kept for"
        " each target token of one hypothesis, mean of positions 8 to 40. length: output words"
        f" over reference words, {length}. output: SHA-256 of the text."
    )


def conditions(record: dict) -> str:
    """Threads, clock, precision and machine."""
    hardware, gpu = record["hardware"], device(record)
    place = "" if gpu == "cpu" else f"on {gpu}, which is waited for before a clock is read; host: "
    return (
        f"{record['threads']} thread(s) for every system, {record['clock']} time,"
        f" {precision(record)} (weights of the modes int8 in eight bits), {place}"
        f"{hardware['cpu']}, {hardware['cores']} cores, commit {commit(record)}; versions: "
        + ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))
    )


def device(record: dict) -> str:
    """``cpu``, or the GPU's name."""
    return record["hardware"]["device"]


def precision(record: dict) -> str:
    """Of weights and activations; records before schema 3 knew only one."""
    return record.get("dtype", "float32")


def of_quality(record: dict) -> list[str]:
    """What the BLEU scores are, or why there are none."""
    if record.get("untrained"):
        return ["The models are untrained and their output is noise of forced length: speed alone."]
    signatures = sorted({system["bleu"]["signature"] for system in record["systems"]})
    return [
        f"BLEU `{', '.join(signatures)}`, of {record['test_lines']:,} lines in batches of"
        f" {record['quality_batch']}; the text is in `hypotheses/`, under its hash.",
        "p: sacreBLEU's paired bootstrap, 1,000 samples. Each architecture stands against the"
        " Transformer of its depth in the same mode, each mode against the same model in float"
        " (the first such mode); pairs with the same text are left out, and those that stand there"
        " already. Where few lines differ, p says little: look at the difference.",
    ]


def figure(record: dict) -> Figure:
    """BLEU against words a second: a panel for each batch size, a row for weights in float and one
    for those in eight bits; in all of them the Pareto front of all systems.

    A curve for each architecture and mode over its depths: medians over repeats and seeds, with
    bars from the least to the most.
    """
    systems = [system for system in record["systems"] if "bleu" in system]
    batches = [speed["batch"] for speed in record["systems"][0]["speed"]]
    rows = [
        (name, own)
        for name, wanted in ((precision(record), False), ("int8", True))
        if (own := [system for system in systems if ("int8" in system["mode"]) == wanted])
    ]
    drawn, panels = figures.new_figure(len(batches), len(rows), PANEL_INCHES)
    for number, panel in enumerate(panels):
        _, own = rows[number // len(batches)]
        index = number % len(batches)
        for curve in curves(own):
            look, hollow = style(curve[0]["architecture"], curve[0]["mode"])
            plots.draw_curve(panel, points_of(curve, index), look, hollow)
        every = [point for curve in curves(systems) for point in points_of(curve, index)]
        plots.draw_front(panel, plots.pareto_front(every))
    share_limits(panels, len(batches))
    for number, panel in enumerate(panels):
        name, _ = rows[number // len(batches)]
        plots.label_speed(panel, f"batch {batches[number % len(batches)]}, {name}")
        panel.set_ylabel("" if number % len(batches) else "BLEU")
    drawn.set_figheight(drawn.get_figheight() + 1)
    handles = legend(systems)
    drawn.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(LEGEND_COLUMNS * len(batches), len(handles)),
        fontsize="small",
        title="numbers: decoder layers; bars: least to most",
        title_fontsize="small",
    )
    return drawn


def curves(systems: Sequence[dict]) -> list[list[dict]]:
    """The systems of each architecture and mode."""
    kinds = dict.fromkeys((system["architecture"], system["mode"]) for system in systems)
    return [[s for s in systems if (s["architecture"], s["mode"]) == kind] for kind in kinds]


def points_of(systems: Sequence[dict], index: int) -> list[plots.Point]:
    """A curve's points at the ``index``-th batch size."""
    return plots.points_of(systems, index, lambda system: system["bleu"]["score"])


def style(architecture: str, mode: str) -> tuple[dict[str, Any], bool]:
    """How a curve looks, and whether its markers are hollow: the rival has a colour of its own,
    otherwise colour and marker tell the architecture, and the line and the hollow markers the
    mode.
    """
    words = mode.split("+")
    look = RIVAL if words[0] == "ct2" else plots.look(architecture)
    line = ":" if words[0] == "plain" else "--" if words[0] == "graph" else "-"
    line = "-." if "shortlist" in words else line
    return {**look, "linestyle": line}, line in (":", "-.")


def legend(systems: Sequence[dict]) -> list[Line2D]:
    """Handles for architectures, the rival, modes and the front."""
    from matplotlib.lines import Line2D

    def handle(label: str, hollow: bool = False, **look: Any) -> Line2D:
        face = "white" if hollow else look["color"]
        return Line2D([], [], label=label, markersize=8, markerfacecolor=face, **look)

    ours = [system for system in systems if not system["mode"].startswith("ct2")]
    kinds = sorted({system["architecture"] for system in ours})
    found = [handle(kind, linestyle="", **plots.look(kind)) for kind in kinds]
    if len(ours) < len(systems):
        found.append(handle(RIVAL_LABEL, linestyle="", **RIVAL))
    for mode in dict.fromkeys(system["mode"] for system in systems):
        look, hollow = style("", mode)
        look = look if mode.startswith("ct2") else {**look, "color": "#333333", "marker": "o"}
        found.append(handle(mode, hollow, **look))
    return [*found, Line2D([], [], label="Pareto front of all modes", **plots.FRONT)]


def share_limits(panels: Sequence[Axes], columns: int) -> None:
    """The same speeds in a column and the same BLEU everywhere, so that panels can be compared."""
    for panel in panels:
        panel.set_xscale("log")
    scores = [panel.get_ylim() for panel in panels]
    for number, panel in enumerate(panels):
        speeds = [other.get_xlim() for other in panels[number % columns :: columns]]
        panel.set_xlim(min(low for low, _ in speeds), max(high for _, high in speeds))
        panel.set_ylim(min(low for low, _ in scores), max(high for _, high in scores))
