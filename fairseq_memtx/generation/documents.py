"""Documents translated in lanes: a sentence's search begins with the memory of those before it.

After its search each model reads the sentence and the chosen translation once, as a training reads
a pair, and so leaves the memory for the next one. That is what its state in the search holds for
that hypothesis (a test compares the states; what does not fit any more is compressed at the end of
the sentence, as in training), but the other beams' states need not be taken apart, an ensemble's
models all get the translation that was chosen together, and a reference can take its place (gold
context).

Size legend: B sentences, S source positions, T target positions.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..config import flag
from ..ground.errors import UserError
from ..modules.lane_memory import LaneBatch, LaneMemories, LaneRow
from ..modules.lanes import LANES_A_ROW, BatchLimits, Documents, plan_batches
from ..plain.memory_steps import MemorySteps
from .search import BatchSearch

Hypotheses = list[dict[str, Any]]


class Sentences(NamedTuple):
    """Sentences that were translated, and the rows they stood in.

    Attributes:
        rows: B of them.
        sources: `(S,)` each, the end symbol included.
        inputs: `(T,)` each, the end symbol and then the words of the translation.
    """

    rows: Sequence[LaneRow]
    sources: Sequence[Tensor]
    inputs: Sequence[Tensor]


class Context(Protocol):
    """What a sentence's memory is made of."""

    def before(self, rows: Sequence[LaneRow]) -> LaneBatch:
        """The memories before the rows' sentences."""

    def after(self, sentences: Sentences) -> None:
        """To be told of sentences that were translated."""

    def skip(self, row: LaneRow) -> None:
        """To be told of a sentence that has no words."""

    def size_bytes(self) -> int:
        """Bytes that are held for the sentences to come."""


class Reader:
    """Lets models read pairs.

    Args:
        models: fairseq's, ready for inference.
        pad: symbol.
        left_pad: whether padding of a source comes first.
    """

    def __init__(self, models: Sequence[Any], pad: int, left_pad: bool = True):
        self.models, self.pad, self.left_pad = models, pad, left_pad

    @torch.no_grad()
    def read(self, sentences: Sentences, memories: LaneMemories) -> None:
        """Leave the memory after each of them in its lane."""
        net_input = self._net_input(sentences)
        for model in self.models:
            model(**net_input, lanes=LaneBatch(memories, sentences.rows), features_only=True)

    @torch.no_grad()
    def score(self, sentences: Sentences, memories: LaneMemories) -> list[float]:
        """The log-probability of each translation and its end; memories stay as they are.

        That of several models is of the mean of their probabilities, word by word.
        """
        net_input = self._net_input(sentences)
        inputs = net_input["prev_output_tokens"]
        target = inputs.roll(-1, dims=1)
        for row, words in zip(target, sentences.inputs, strict=True):
            row[len(words) - 1] = words[0]  # the end symbol, with which the input begins
        found = []
        for model in self.models:
            out = model(**net_input, lanes=Frozen(memories, sentences.rows))
            log_probs = model.get_normalized_probs(out, log_probs=True, sample=None)
            found.append(log_probs.gather(2, target.unsqueeze(2)).squeeze(2).double())
        words = torch.stack(found).logsumexp(dim=0) - math.log(len(found))
        return words.masked_fill(inputs.eq(self.pad), 0.0).sum(dim=1).tolist()

    def _net_input(self, sentences: Sentences) -> dict[str, Tensor]:
        lengths = torch.tensor([len(source) for source in sentences.sources])
        return {
            "src_tokens": padded(sentences.sources, self.pad, self.left_pad),
            "src_lengths": lengths.to(sentences.sources[0].device),
            "prev_output_tokens": padded(sentences.inputs, self.pad, left=False),
        }


class Frozen(LaneBatch):
    """Memories that are read and stay as they are."""

    def write(self, reader: Any, memory: Any) -> None:
        """Leave the memories as they are: what a search finds here is not remembered."""


class WholeDocument:
    """All sentences before: the memory goes on from one to the next."""

    def __init__(self, reader: Reader):
        self._reader, self.memories = reader, LaneMemories()

    def before(self, rows: Sequence[LaneRow]) -> LaneBatch:
        return LaneBatch(self.memories, rows)

    def after(self, sentences: Sentences) -> None:
        self._reader.read(sentences, self.memories)

    def skip(self, row: LaneRow) -> None:
        for model in self._reader.models:
            self.memories.keep(id(model), row)

    def size_bytes(self) -> int:
        return self.memories.size_bytes()


class LastSentences:
    """A number of sentences before: the memory is made anew from them for each sentence.

    To cut a memory would not do: its states know of what came before them.

    Args:
        reader: of the models.
        number: how many sentences, at least 0.
    """

    def __init__(self, reader: Reader, number: int):
        self._reader, self._number = reader, number
        self._last: dict[int, tuple[int, deque[tuple[Tensor, Tensor]]]] = {}

    def before(self, rows: Sequence[LaneRow]) -> LaneBatch:
        memories, read = LaneMemories(), {row.lane: self._pairs(row) for row in rows}
        for place in range(self._number):  # the sentences just before have the last place
            back = self._number - place
            lanes = [lane for lane, pairs in read.items() if len(pairs) >= back]
            if lanes:
                numbered = [self._row(lane, place, len(read[lane]) > back) for lane in lanes]
                pairs = [read[lane][-back] for lane in lanes]
                self._reader.read(Sentences(numbered, *zip(*pairs, strict=True)), memories)
        following = [self._row(row.lane, self._number, bool(read[row.lane])) for row in rows]
        return LaneBatch(memories, following)

    @staticmethod
    def _row(lane: int, place: int, goes_on: bool) -> LaneRow:
        return LaneRow(lane, place, place - 1 if goes_on else -1)

    def _pairs(self, row: LaneRow) -> list[tuple[Tensor, Tensor]]:
        """The sentences before that of `row`, as far as they are to be read."""
        sentence, pairs = self._last.get(row.lane, (-1, deque()))
        return list(pairs) if 0 <= row.previous == sentence else []

    def after(self, sentences: Sentences) -> None:
        for row, source, words in zip(*sentences, strict=True):
            kept = deque([*self._pairs(row), (source, words)], maxlen=self._number)
            self._last[row.lane] = row.sentence, kept

    def skip(self, row: LaneRow) -> None:
        self._last[row.lane] = row.sentence, deque(self._pairs(row), maxlen=self._number)

    def size_bytes(self) -> int:
        texts = (x for _, pairs in self._last.values() for pair in pairs for x in pair)
        return sum(x.numel() * x.element_size() for x in texts)


class DocumentSearch:
    """Translates documents, batch by batch.

    Args:
        generator: searches; it must be `fast`.
        models: fairseq's, which the generator was made for.
        reader: of the same models.
        context: sentences before a sentence that its memory is made of; -1 for all.

    Raises:
        UserError: for another generator, or a model whose memory ends with its sentence.
    """

    def __init__(self, generator: Any, models: Sequence[Any], reader: Reader, context: int = -1):
        if not isinstance(generator, BatchSearch):
            raise UserError(f"only {flag('generator')} fast translates documents")
        for model in models:
            refuse_without_memory(model)
        self.generator, self.models, self._reader = generator, models, reader
        self._context = context_of(reader, context)

    def translate(
        self,
        net_input: dict[str, Tensor],
        rows: Sequence[LaneRow],
        gold: Sequence[Tensor | None] | None = None,
    ) -> list[Hypotheses]:
        """The hypotheses of a batch, the best one first, which later sentences remember.

        Args:
            net_input: fairseq's `src_tokens` `(B, S)` and `src_lengths` `(B,)`, which count the
                end symbol: a source of nothing else stays so and leaves no memory.
            rows: where the sentences stand.
            gold: of each sentence a translation `(T,)` to remember in place of the best one, its
                end symbol last; None for none.
        """
        sources, lengths = net_input["src_tokens"], net_input["src_lengths"]
        full = [number for number, length in enumerate(lengths.tolist()) if length > 1]
        found: list[Hypotheses] = [[_nothing(sources, self.generator.eos)] for _ in rows]
        if full:
            chosen = torch.tensor(full, device=sources.device)
            part = {"src_tokens": sources[chosen], "src_lengths": lengths[chosen]}
            lanes = self._context.before([rows[number] for number in full])
            sample = {"net_input": part, "lanes": lanes}
            found_here = self.generator.generate(self.models, sample)
            for number, hypotheses in zip(full, found_here, strict=True):
                found[number] = hypotheses
            self._context.after(self._read_sentences(full, sources, rows, found, gold))
        for number, length in enumerate(lengths.tolist()):
            if length <= 1:
                self._context.skip(rows[number])
        return found

    def size_bytes(self) -> int:
        """Bytes that are held for the sentences to come."""
        return self._context.size_bytes()

    def _read_sentences(self, full, sources, rows, found, gold) -> Sentences:
        """What is remembered of the sentences `full`."""
        inputs = []
        for number in full:
            words = None if gold is None else gold[number]
            words = found[number][0]["tokens"] if words is None else words
            inputs.append(torch.cat([words[-1:], words[:-1]]).to(sources.device))
        words_of = [row[row.ne(self._reader.pad)] for row in sources[full]]
        return Sentences([rows[number] for number in full], words_of, inputs)


class DocumentScorer:
    """Scores several translations of each sentence, after the first ones of those before it.

    Args:
        reader: of the models.
        context: sentences before a sentence that its memory is made of; -1 for all.

    Raises:
        UserError: for a model whose memory ends with its sentence.
    """

    def __init__(self, reader: Reader, context: int = -1):
        for model in reader.models:
            refuse_without_memory(model)
        self._reader, self._context = reader, context_of(reader, context)

    def score(
        self,
        rows: Sequence[LaneRow],
        sources: Sequence[Tensor],
        translations: Sequence[Sequence[Tensor]],
    ) -> list[list[float]]:
        """The log-probability of each translation of each sentence of a batch.

        Args:
            rows: where the sentences stand.
            sources: `(S,)` each, the end symbol last.
            translations: for each sentence at least one `(T,)`, the end symbol last; the first
                is what later sentences remember.
        """
        inputs = [[torch.cat([x[-1:], x[:-1]]) for x in some] for some in translations]
        memories = self._context.before(rows)
        scores: list[list[float]] = [[] for _ in rows]
        for number in range(max(map(len, inputs))):
            here = [row for row, some in enumerate(inputs) if len(some) > number]
            sentences = Sentences(
                [memories.rows[row] for row in here],
                [sources[row] for row in here],
                [inputs[row][number] for row in here],
            )
            found = self._reader.score(sentences, memories.memories)
            for row, score in zip(here, found, strict=True):
                scores[row].append(score)
        self._context.after(Sentences(rows, sources, [some[0] for some in inputs]))
        return scores


def context_of(reader: Reader, sentences: int) -> Context:
    """What memories are made of: so many sentences before each, -1 for all."""
    return WholeDocument(reader) if sentences < 0 else LastSentences(reader, sentences)


def refuse_without_memory(model: Any) -> None:
    """Raise `UserError` for a model whose memory ends with its sentence."""
    decoder = getattr(model, "decoder", None)
    if isinstance(decoder, MemorySteps):
        reason = decoder.why_not_carried()
    else:
        reason = f"a {type(model).__name__} has no memory"
    if reason is not None:
        raise UserError(f"documents need a decoder whose memory outlives a sentence: {reason}")


def batches_in_lanes(
    documents: Documents, lengths: np.ndarray, limits: BatchLimits, num_lanes: int = 0
) -> Iterator[list[LaneRow]]:
    """The rows of each batch of documents that are translated in their order.

    Args:
        documents: they.
        lengths: of each sentence, by its number.
        limits: of a batch.
        num_lanes: documents that are open at once; 0 for as many as keep padding low.
    """
    lanes = num_lanes or LANES_A_ROW * limits.usual_rows(lengths)
    before = documents.previous(len(lengths))
    order = np.arange(len(documents))
    for batch in plan_batches(documents, order, lengths, limits, min(lanes, len(order))):
        yield [LaneRow(lane, number, int(before[number])) for number, lane in batch]


def padded(rows: Sequence[Tensor], pad: int, left: bool) -> Tensor:
    """Rows of words `(B, n)`, filled up with padding."""
    size = max(len(row) for row in rows)
    filled = rows[0].new_full((len(rows), size), pad)
    for to, row in zip(filled, rows, strict=True):
        to[size - len(row) if left else 0 :][: len(row)] = row
    return filled


def _nothing(like: Tensor, eos: int) -> dict[str, Any]:
    """The hypothesis of a sentence without words."""
    zero = torch.zeros((), device=like.device)
    empty = torch.empty(0)
    return {
        "tokens": like.new_tensor([eos]),
        "score": zero,
        "attention": empty,
        "alignment": empty,
        "positional_scores": zero[None],
    }
