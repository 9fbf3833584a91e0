"""Sentences below the tables of an experiment: what the numbers show, told from them, and what not.

They name no winner where ranges overlap or a difference is not significant.
"""

from __future__ import annotations

from collections.abc import Sequence

from scripts.grid.groups import SIGNIFICANCE, Group, batches_of, beams_of


def of_translation(groups: Sequence[Group], beam: int) -> str:
    """Below the table of quality and speed."""
    told = [against_transformer(group, groups, beam) for group in groups]
    shown = [sentence for sentence in told if sentence]
    is_main = beam == beams_of(groups[0].records)[0]
    limited = limits(groups) if is_main else "What the table above does not show, nor does this."
    return " ".join([*shown, *width_against_depth(groups, beam), limited])


def partner(group: Group, groups: Sequence[Group]) -> Group | None:
    """The Transformer of the same depth, width and recipe."""
    if group.decoder == "transformer":
        return None
    same = ("depth", "width", "recipe")
    found = [
        other
        for other in groups
        if other.decoder == "transformer"
        and all(getattr(other, name) == getattr(group, name) for name in same)
    ]
    return found[0] if found else None


def against_transformer(group: Group, groups: Sequence[Group], beam: int) -> str:
    """One group beside the Transformer: BLEU, and speed at each batch size."""
    other = partner(group, groups)
    differences = group.differences(beam)
    if other is None or not differences:
        return ""
    values = [one["difference"] for one in differences]
    clear = sum(one["p_value"] < SIGNIFICANCE for one in differences)
    least, most = min(values), max(values)
    told = f"{least:+.2f}" if len(values) == 1 else f"{least:+.2f} to {most:+.2f}"
    seeds = f"significant with {clear} of {len(values)} seed{'s' if len(values) > 1 else ''}"
    speeds = [
        f"{faster(group, other, beam, batch)} at batch {batch}"
        for batch in batches_of(group.records)
    ]
    return (
        f"`{group.decoder}` against the Transformer, {layers(group)}: BLEU {told} ({seeds}), "
        f"{' and '.join(speeds)}."
    )


def faster(group: Group, other: Group, beam: int, batch: int) -> str:
    """The ratio of two speeds, or that they cannot be told apart."""
    own, its = group.speed(beam, batch), other.speed(beam, batch)
    ratio = f"{own[0] / its[0]:.2f} times its words/s"
    overlaps = own[1] <= its[2] and its[1] <= own[2]
    return f"{ratio} (the ranges overlap)" if overlaps else ratio


def layers(group: Group) -> str:
    """Depth, width and recipe in words."""
    return f"{size(group)}, {group.recipe}"


def size(group: Group) -> str:
    """Depth and width in words."""
    count = "1 layer" if group.depth == 1 else f"{group.depth} layers"
    return f"{count} of {group.width}"


def width_against_depth(groups: Sequence[Group], beam: int) -> list[str]:
    """Each narrow group beside the wide ones of fewer layers."""
    told = []
    widest = max(group.width for group in groups)
    batch = batches_of(groups[0].records)[0]
    for group in groups:
        for other in groups:
            alike = (other.decoder, other.recipe) == (group.decoder, group.recipe)
            if alike and group.width < other.width == widest and other.depth < group.depth:
                gap = group.bleu(beam)[0] - other.bleu(beam)[0]
                told.append(
                    f"`{group.decoder}`, {group.depth} layers of {group.width} against"
                    f" {other.depth} of {other.width}: BLEU {gap:+.2f} (medians),"
                    f" {faster(group, other, beam, batch)} at batch {batch}."
                )
    return told


def limits(groups: Sequence[Group]) -> str:
    """What the tables cannot show."""
    seeds = {len(group.records) for group in groups}
    sizes = sorted({group.width for group in groups})
    few = "one seed" if seeds == {1} else f"{min(seeds)} to {max(seeds)} seeds"
    few = f"{max(seeds)} seeds" if len(seeds) == 1 and seeds != {1} else few
    pairs = groups[0].first["data"]["pairs"]["train"]
    still = sum(not stopped for group in groups for stopped in group.stopped)
    unfinished = (
        f" {still} of {sum(len(group.records) for group in groups)} trainings ended before their"
        " loss had stopped falling, so that more training may change the order."
        if still
        else ""
    )
    return (
        f"What this does not show: anything of larger models or data. These are {few} of"
        f" {', '.join(map(str, sizes))} dimensions on {pairs:,} pairs, and a significant difference"
        f" is one between two models, not between two architectures.{unfinished}"
    )


def of_training(groups: Sequence[Group]) -> str:
    """Below the table of trainings."""
    runs = [(group, stopped) for group in groups for stopped in group.stopped]
    done = sum(stopped for _, stopped in runs)
    ended = f"{done} of {len(runs)} trainings went on until their validation loss no longer fell"
    if done < len(runs):
        ended += "; the others were ended by their number of epochs or updates"
    costs = [cost for group in groups if (cost := cost_ratio(group, groups))]
    return (
        f"{ended}. {' '.join(costs)} Processor time on a machine with other work tells costs only"
        " roughly; see `training_speed` for what was measured side by side."
    )


def cost_ratio(group: Group, groups: Sequence[Group]) -> str:
    """Target tokens a second beside the Transformer's."""
    other = partner(group, groups)
    if other is None:
        return ""
    rates = [rate(one) for one in (group, other)]
    if not all(rates):
        return ""
    ratio = f"{rates[0] / rates[1]:.2f} of the Transformer's rate"
    return f"`{group.decoder}`, {layers(group)}: {ratio} in training."


def rate(group: Group) -> float:
    """Target tokens a processor second of all seeds together; 0 where it is not known."""
    runs = [record["training"] for record in group.records]
    seconds = sum(run["processor_seconds"] or 0 for run in runs)
    return sum(run["target_tokens"] for run in runs) / seconds if seconds else 0.0


def of_search(groups: Sequence[Group]) -> str:
    """Below the table of the search."""
    found = next(s for group in groups if (s := group.first["learning"]["search"]))
    edges = [
        f"`{group.decoder}`, {size(group)}" for group in groups if at_edge(group.first["learning"])
    ]
    told = (
        f"Each trial is a training of {found['updates']:,} updates by the recipe"
        f" `{found['recipe']}` with seed {found['seed']}; the least validation loss at its end was"
        " chosen. So short a training favours rates and warm-ups that learn fast at first, and"
        " cannot show which is best at the end."
    )
    if edges:
        told += f" At the edge of what was tried: {', '.join(dict.fromkeys(edges))}."
    return told


def at_edge(learning: dict) -> bool:
    """Whether the chosen learning rate is the least or the greatest of several tried."""
    if not learning["search"]:
        return False
    rates = {one["lr"] for one in learning["search"]["tried"]}
    return len(rates) > 1 and learning["lr"] in (min(rates), max(rates))
