"""What a page shows of translations, as plain containers for JSON.

Size legend: T target positions (subwords and the end symbol), S source positions with the end
symbol, H heads, t entries of the past, L layers, P entries from the sentences before.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ground.errors import UserError
from ..modules.mixture import MIXTURES, ROUTED
from ..modules.pair_memory import target_side
from ..modules.segment_memory import LayerMemory
from ..plain.feedback_steps import FeedbackSteps
from ..plain.memory_steps import MemorySteps
from ..plain.segment_steps import SegmentSteps
from ..plain.transformer_steps import TransformerSteps
from ..translation.results import Translation
from ..translator import Translator, checked_lines
from .listening import ForcedPass, LayerReads, forced, layers_of, listening
from .spans import compressed_spans

#: Of one page: it is to open on a phone.
MOST_SENTENCES = 50
MOST_NUMBERS = 3_000_000
SCALE = 1000  # a probability is told in so many parts

#: Decoders by what their attention to the past reads, which the page's texts are about.
SELF, MEMORY, SEGMENTS = "self", "memory", "segments"


class Before(NamedTuple):
    """What a sentence of a document goes on from.

    Attributes:
        memory: the model's, of one row; None for nothing.
        read: the words by which it was made, oldest first; None stands for the begin symbol.
    """

    memory: Any = None
    read: Sequence[str | None] = ()


NOTHING = Before()


def explained(translator: Translator, lines: Iterable[str], name: str = "") -> dict[str, Any]:
    """Translate lines and tell what the decoder attended to for each subword of each translation.

    Args:
        translator: of one model.
        lines: raw text, a sentence each; blank ones are left out.
        name: of the model, for the page.

    Raises:
        UserError: where there is nothing to explain, too much for one page, a line that is longer
            than the model takes, or a model whose attention cannot be told.
        FloatingPointError: where the model gives no numbers.
    """
    only_model(translator)
    wanted = with_words(translator, lines)
    refuse_number(len(wanted))
    budget, sentences = Budget(), []
    for number, line in enumerate(wanted, 1):
        refuse_long(translator, line, number)
        (found,) = translator.nbest([line])
        sentences.append(sentence_of(translator, line, found, budget))
    return {**about(translator, name), "sentences": sentences}


def with_words(translator: Translator, lines: Iterable[str]) -> list[str]:
    """The lines that have subwords.

    Raises:
        UserError: for what is no text.
    """
    return [line for line in checked_lines(lines) if translator.pieces(line)]


def only_model(translator: Translator) -> Any:
    """The model.

    Raises:
        UserError: where there are several, or one whose attention cannot be told.
    """
    if len(translator.models) != 1:
        raise UserError(
            f"there are {len(translator.models)} models: the view is of one, so name a single"
            " checkpoint"
        )
    (model,) = translator.models
    with listening(model.decoder):  # or it is refused
        return model


def can_be_explained(translator: Translator) -> bool:
    """Whether its attention can be told."""
    try:
        only_model(translator)
    except UserError:
        return False
    return True


def refuse_long(translator: Translator, line: str, number: int) -> None:
    """Refuse a line that would be translated in parts; `number` counts from 1.

    Raises:
        UserError: for it.
    """
    if len(translator.pieces(line)) > translator.max_source:
        raise UserError(
            f"sentence {number} has more than the {translator.max_source} subwords that the model"
            " takes: give a shorter one"
        )


def refuse_number(sentences: int) -> None:
    """Refuse a page of no sentence or of too many.

    Raises:
        UserError: for these.
    """
    if sentences == 0:
        raise UserError("there is no sentence to explain: give one that is not blank")
    if sentences > MOST_SENTENCES:
        raise UserError(
            f"there are {sentences} sentences, and a page holds at most {MOST_SENTENCES}: give"
            " fewer"
        )


class Budget:
    """Counts the numbers of a page, which has to stay small enough to be opened."""

    def __init__(self) -> None:
        self._left = MOST_NUMBERS

    def take(self, tensors: Iterable[Tensor]) -> None:
        """Count the elements of these.

        Raises:
            UserError: where they are too many.
        """
        count = sum(tensor.numel() for tensor in tensors)
        self.refuse(count)
        self._left -= count

    def refuse(self, count: int) -> None:
        """Refuse so many numbers more, before they are computed, where there is no room.

        Raises:
            UserError: for them.
        """
        if count > self._left:
            raise UserError(
                f"the page would hold more than {MOST_NUMBERS:,} probabilities: give fewer or"
                " shorter sentences, or a smaller `--nbest`"
            )


def about(translator: Translator, name: str) -> dict[str, Any]:
    """What is told of the model."""
    (model,) = translator.models
    decoder, cfg = model.decoder, translator.task.cfg
    return {
        "model": name,
        "decoder": getattr(decoder, "memtx_name", "transformer"),
        "past": past_of(decoder),
        "compressed": any(
            getattr(layer.self_attn, "compression", None) is not None
            for layer in layers_of(decoder)
        ),
        "layers": len(layers_of(decoder)),
        "source_lang": cfg.source_lang,
        "target_lang": cfg.target_lang,
        "routed": is_routed(decoder),
    }


def is_routed(decoder: Any) -> bool:
    """Whether each position's memory is mixed of the layers' states in a way of its own."""
    if not isinstance(decoder, FeedbackSteps):
        return False
    return decoder.memory.mixture.kind in MIXTURES.tagged(ROUTED)


def past_of(decoder: Any) -> str:
    """What a decoder's attention to the past reads."""
    if isinstance(decoder, SegmentSteps):
        return SEGMENTS
    own = isinstance(decoder, MemorySteps) and not isinstance(decoder, TransformerSteps)
    return MEMORY if own else SELF


def sentence_of(
    translator: Translator,
    line: str,
    found: Sequence[Translation],
    budget: Budget,
    before: Before = NOTHING,
) -> dict[str, Any]:
    """A line, its translations, and what was attended to for each of them.

    Args:
        translator: of one model.
        line: raw text.
        found: its translations, best first.
        budget: of the page.
        before: what they go on from.
    """
    (model,) = translator.models
    source = tokens_of(translator.task.source_dictionary, found[0].source_subwords, translator)
    told = []
    for one in found:
        tokens = tokens_of(translator.task.target_dictionary, one.subwords, translator)
        heads = sum(layer.self_attn.num_heads for layer in layers_of(model.decoder))
        budget.refuse(heads * tokens.numel() * source.numel())  # to the source alone
        made = forced(model, source, tokens, before.memory)
        for layer in made.layers:
            budget.take([*layer.source, *layer.past])
        told.append(
            {**translation_of(one, made), **reads_of(translator, made, one.subwords, before)}
        )
    return {"text": line, "subwords": list(found[0].source_subwords), "translations": told}


def tokens_of(dictionary: Any, subwords: Sequence[str], translator: Translator) -> Tensor:
    """Their numbers and the end symbol's, `(len + 1,)`, on the model's device."""
    device = next(translator.models[0].parameters()).device
    numbers = [dictionary.index(subword) for subword in subwords]
    return torch.tensor([*numbers, dictionary.eos()], device=device)


def translation_of(one: Translation, made: ForcedPass) -> dict[str, Any]:
    """A hypothesis; its subwords' scores are natural logarithms, the end symbol's last.

    The gap is the largest difference to those of the pass in which its attention was heard.
    """
    both = zip(one.subword_scores, made.token_scores, strict=True)
    return {
        "gap": round(max(abs(found - again) for found, again in both), 4),
        "text": one.text,
        "score": round(one.score, 4),
        "subwords": list(one.subwords),
        "scores": [round(score, 4) for score in one.subword_scores],
    }


def reads_of(
    translator: Translator, made: ForcedPass, subwords: Sequence[str], before: Before
) -> dict[str, Any]:
    """What was attended to for each subword of a translation.

    The words that were read are those of the sentences before, and then of the translation one
    place further on, after the begin symbol: None stands for that. The past of a position are the
    last of those up to it, or before it where a position does not attend to itself.
    """
    (model,) = translator.models
    told, past = [], target_side(before.memory)
    for number, (layer, reads) in enumerate(
        zip(layers_of(model.decoder), made.layers, strict=True)
    ):
        one: dict[str, Any] = {
            "source": [parts(x[0]) for x in reads.source],
            "past": [parts(x[0]) for x in reads.past],
        }
        if reads.in_view:
            one["in_view"] = [[view.compressed, view.recent] for view in reads.in_view]
            kept = None if past is None else past.layers[number]
            one["spans"] = spans_of(model.decoder, layer, reads, kept)
        told.append(one)
    widest = max(row.size(-1) for reads in made.layers for row in reads.past)
    carried = list(before.read[max(0, len(before.read) - widest) :])
    mixtures = made.mixtures if is_routed(model.decoder) else made.mixtures[:1]
    return {
        "carried": len(carried),
        "read": [*carried, None, *subwords],
        "layers": told,
        "mixtures": [parts(shares) for shares in mixtures],
    }


def spans_of(
    decoder: SegmentSteps, layer: Any, reads: LayerReads, before: LayerMemory | None
) -> list[list[Any]]:
    """For each position the span of words of each compressed entry in its view."""
    compression = layer.self_attn.compression
    by_group = compression is None or not compression.uses_attention
    carried = (0, 0) if before is None else (before.recent.size(1), before.compressed.size(1))
    all_spans = compressed_spans(
        decoder.lengths(layer), len(reads.in_view), *carried, by_group=by_group
    )
    return [
        [span and list(span) for span in spans[len(spans) - view.compressed :]]
        for spans, view in zip(all_spans, reads.in_view, strict=True)
    ]


def parts(probs: Tensor) -> list[list[int]]:
    """Probabilities `(H, n)` in thousandths, a list for each head."""
    return (probs.double() * SCALE).round().int().tolist()
