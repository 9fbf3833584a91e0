"""The model's own score of given translations, for rerankers and filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from fairseq import utils
from fairseq.data import LanguagePairDataset
from fairseq.sequence_scorer import SequenceScorer

from ..ground.errors import UserError
from . import parts as batching
from . import reading
from .parts import Numbers
from .results import Translation

if TYPE_CHECKING:
    from ..translator import Translator


class Pair(NamedTuple):
    """A line and its translation.

    Attributes:
        text: the translation, raw.
        source, target: their subwords.
    """

    text: str
    source: Numbers
    target: Numbers


def scored(
    translator: Translator,
    lines: Sequence[str],
    translations: Sequence[str],
    progress: Callable[[int], object],
    first: int,
) -> list[Translation]:
    """See `Translator.score`, whose lines these are, checked."""
    if len(translations) != len(lines):
        raise UserError(
            f"there are {len(translations)} translations for {len(lines)} lines: each line has to"
            " have one"
        )
    both = zip(lines, translations, strict=True)
    pairs = [_pair(translator, *texts, number) for number, texts in enumerate(both, first)]
    sizes = [max(len(pair.source.ids), len(pair.target.ids)) for pair in pairs]
    batches = list(translator.batches(sizes))
    tasks = [[pairs[i] for i in batch] for batch in batches]
    work = partial(_score_batch, translator)
    found: dict[int, Translation] = {}
    made = batching.run_all(work, tasks, translator.search.workers)
    for batch, results in zip(batches, made, strict=True):
        found |= zip(batch, results, strict=True)
        progress(len(batch))
    return [found[number] for number in range(len(pairs))]


def _pair(translator: Translator, line: str, translation: str, number: int) -> Pair:
    """Both as subwords.

    Raises:
        UserError: for a pair that is longer than the model takes.
    """
    task = translator.task
    source = batching.numbers(translator.pieces(line), task.source_dictionary)
    target = batching.numbers(translator.pieces(translation, True), task.target_dictionary)
    most_target = min(model.max_positions()[1] for model in translator.models) - 1
    sides = (
        ("line", source, translator.max_source),
        ("the translation of line", target, most_target),
    )
    for what, side, most in sides:
        if len(side.ids) > most:
            raise UserError(
                f"{what} {number + 1} has {len(side.ids)} subwords, but the model takes {most}:"
                " leave the pair out"
            )
    return Pair(translation, source, target)


def _score_batch(translator: Translator, pairs: Sequence[Pair]) -> list[Translation]:
    """The pairs of a batch with their scores.

    Raises:
        FloatingPointError: where the model gives no numbers.
    """
    sample = _sample(translator.task, pairs)
    device = next(translator.models[0].parameters()).device
    sample = utils.apply_to_sample(lambda x: x.to(device), sample)
    wants_alignment = translator.search.alignment
    scorer = SequenceScorer(translator.task.target_dictionary, compute_alignment=wants_alignment)
    with torch.no_grad():
        found = scorer.generate(translator.models, sample)
    pad = translator.task.source_dictionary.pad()
    results: dict[int, Translation] = {}
    for row, (number, (one,)) in enumerate(zip(sample["id"].tolist(), found, strict=True)):
        if one["positional_scores"].isnan().any():
            raise FloatingPointError("the model's scores are NaN: it has diverged, use another one")
        is_source = sample["net_input"]["src_tokens"][row].ne(pad) if wants_alignment else None
        results[number] = _read(translator, pairs[number], one, is_source)
    return [results[number] for number in range(len(pairs))]


def _read(
    translator: Translator, pair: Pair, one: dict[str, Any], is_source: torch.Tensor | None
) -> Translation:
    """What fairseq's scorer tells of a pair; its attention has a row for each target position."""
    if is_source is not None:
        one = {**one, "attention": one["attention"][: len(one["tokens"])].t()}
    return reading.translation(
        one, lambda tokens: pair.text, translator.task.target_dictionary, pair.source.pieces,
        is_source,
    )  # fmt: skip


def _sample(task: Any, pairs: Sequence[Pair]) -> dict[str, Any]:
    """fairseq's batch; "id" is the place of each pair."""
    sources = [torch.tensor([*pair.source.ids, task.source_dictionary.eos()]) for pair in pairs]
    targets = [torch.tensor([*pair.target.ids, task.target_dictionary.eos()]) for pair in pairs]
    dataset = LanguagePairDataset(
        sources, [len(x) for x in sources], task.source_dictionary,
        targets, [len(x) for x in targets], task.target_dictionary,
        left_pad_source=task.cfg.left_pad_source, left_pad_target=False, shuffle=False,
    )  # fmt: skip
    return dataset.collater([dataset[number] for number in range(len(pairs))])
