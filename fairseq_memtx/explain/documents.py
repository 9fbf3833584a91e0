"""Views of documents, whose sentences go on from the memory of those before."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..generation.documents import Context, Sentences, context_of, refuse_without_memory
from ..modules.lane_memory import LaneRow
from ..translation import reading
from ..translation.results import Translation
from ..translator import Translator
from .views import (
    Before,
    Budget,
    about,
    only_model,
    refuse_long,
    refuse_number,
    sentence_of,
    tokens_of,
    with_words,
)


def explained_documents(
    translator: Translator, documents: Iterable[Sequence[str]], name: str = "", context: int = -1
) -> dict[str, Any]:
    """As `views.explained`, each sentence with the memory of those before it in its document.

    Args:
        translator: of one model, whose memory outlives a sentence; it must search by `fast`.
        documents: the sentences of each, raw text; blank ones are left out.
        name: of the model, for the page.
        context: sentences before a sentence that its memory is made of; -1 for all.

    Raises:
        UserError: as `views.explained`; or for a model whose memory ends with its sentence.
        FloatingPointError: where the model gives no numbers.
    """
    refuse_without_memory(only_model(translator))
    texts = [with_words(translator, lines) for lines in documents]
    refuse_number(sum(map(len, texts)))
    walk, budget = _Walk(translator, context), Budget()
    told: list[dict[str, Any]] = []
    for number, lines in enumerate((lines for lines in texts if lines), 1):
        walk.begin()
        for line in lines:
            refuse_long(translator, line, len(told) + 1)
            found, before = walk.translate(line)
            view = sentence_of(translator, line, found, budget, before)
            told.append({**view, "document": number})
    return {**about(translator, name), "sentences": told}


class _Walk:
    """From sentence to sentence.

    Args:
        translator: of one model.
        context: sentences before a sentence that its memory is made of; -1 for all.
    """

    def __init__(self, translator: Translator, context: int):
        self._translator, self._sentences = translator, context
        self._context: Context = context_of(translator.reader(), context)
        self._number, self._read = -1, list[list[str | None]]()

    def begin(self) -> None:
        """Forget the sentences of the document before."""
        self._read = []

    @torch.inference_mode()
    def translate(self, line: str) -> tuple[list[Translation], Before]:
        """The translations of the next sentence, best first, and what they went on from."""
        translator = self._translator
        (model,), dictionary = translator.models, translator.task.target_dictionary
        pieces = translator.pieces(line)
        source = tokens_of(translator.task.source_dictionary, pieces, translator)
        self._number += 1
        row = LaneRow(0, self._number, self._number - 1 if self._read else -1)
        lanes = self._context.before([row])
        lengths = source.new_tensor([source.numel()])
        net_input = {"src_tokens": source[None], "src_lengths": lengths}
        sample = {"net_input": net_input, "lanes": lanes}
        (hypotheses,) = translator.generator.generate([model], sample)
        found = [
            reading.translation(one, translator.decode, dictionary, pieces, None)
            for one in hypotheses[: translator.search.nbest]
        ]
        before = Before(lanes.read(id(model), source), self._words())
        chosen = tokens_of(dictionary, found[0].subwords, translator)
        self._context.after(Sentences([row], [source], [chosen.roll(1)]))
        self._read.append([None, *found[0].subwords])
        return found, before

    def _words(self) -> list[str | None]:
        """What was read in the sentences that the memory is made of."""
        first = 0 if self._sentences < 0 else max(0, len(self._read) - self._sentences)
        return [word for words in self._read[first:] for word in words]
