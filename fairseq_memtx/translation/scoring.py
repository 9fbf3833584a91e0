"""The model's own score of given translations, for rerankers and filters.

Size legend: B sentences, S source positions, T target positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..generation.alignment import hard_alignment
from ..generation.documents import padded
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
    batch = _batch(translator, pairs)
    with torch.no_grad():
        scores, attention = _scores(translator.models, batch, translator.search.alignment)
    if bool(scores.isnan().any()):
        raise FloatingPointError("the model's scores are NaN: it has diverged, use another one")
    rows = [None] * len(pairs) if attention is None else list(attention)
    return [
        _read(translator, pair, batch, row, scores[row], rows[row])
        for row, pair in enumerate(pairs)
    ]


class PairBatch(NamedTuple):
    """Pairs as a model reads them.

    Attributes:
        net_input: sources `(B, S)`, their lengths, and targets that begin with the end symbol.
        target: `(B, T)`, the end symbol last; 0 where a row has ended.
    """

    net_input: dict[str, Tensor]
    target: Tensor


def _batch(translator: Translator, pairs: Sequence[Pair]) -> PairBatch:
    """The pairs, on the models' device."""
    task = translator.task
    device = next(translator.models[0].parameters()).device
    words, eos = task.source_dictionary, task.target_dictionary.eos()
    sources = [torch.tensor([*pair.source.ids, words.eos()]) for pair in pairs]
    inputs = [torch.tensor([eos, *pair.target.ids]) for pair in pairs]
    targets = [torch.tensor([*pair.target.ids, eos]) for pair in pairs]
    net_input = {
        "src_tokens": padded(sources, words.pad(), task.cfg.left_pad_source),
        "src_lengths": torch.tensor([len(source) for source in sources]),
        "prev_output_tokens": padded(inputs, task.target_dictionary.pad(), left=False),
    }
    return PairBatch(batching.moved(net_input, device), padded(targets, 0, left=False).to(device))


def _scores(
    models: Sequence[Any], batch: PairBatch, wants_attention: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the target's words `(B, T)`, and the attention `(B, T, S)`.

    Those of several models are of the mean of their probabilities, and the attention's mean.
    """
    found, attentions = [], []
    for model in models:
        out = model(**batch.net_input)
        log_probs = model.get_normalized_probs(out, log_probs=True, sample=None)
        found.append(log_probs.gather(2, batch.target.unsqueeze(2)).squeeze(2))
        if wants_attention:
            attention = out[1]["attn"]
            attentions.append(attention[0] if isinstance(attention, list) else attention)
    scores = torch.stack(found).logsumexp(dim=0) - math.log(len(found))
    return scores, torch.stack(attentions).mean(dim=0) if attentions else None


def _read(
    translator: Translator,
    pair: Pair,
    batch: PairBatch,
    row: int,
    scores: Tensor,
    attention: Tensor | None,
) -> Translation:
    """A pair with its scores `(T,)` and attention `(T, S)`, of which padding is left out."""
    size = len(pair.target.ids) + 1
    tokens, is_source = batch.target[row, :size], None
    found: dict[str, Any] = {
        "tokens": tokens,
        "score": scores[:size].mean(),
        "positional_scores": scores[:size],
    }
    if attention is not None:
        source, words = batch.net_input["src_tokens"][row], translator.task.target_dictionary
        is_source = source.ne(words.pad())
        found["attention"] = attention[:size].t()
        found["alignment"] = hard_alignment(
            attention[:size], source, tokens, words.pad(), words.eos()
        )
    return reading.translation(
        found, lambda tokens: pair.text, translator.task.target_dictionary, pair.source.pieces,
        is_source,
    )  # fmt: skip
