"""What stands between the generator `fast` and the engine: which batches it searches."""

import logging
from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from ..decoding.history import Hypothesis
from ..decoding.search_options import Limits, SearchOptions
from ..generation.steppers import HowToStep, Prepared, PreparedModel, is_final
from ..modules.lane_memory import LaneBatch
from .library import (
    Library,
    NativeMemory,
    NativeModel,
    NativeResult,
    Parts,
    Request,
    UnusableError,
    loaded,
    translate,
)
from .memories import UnknownMemoryError, native_memory
from .weights import Writer, why_not_native

logger = logging.getLogger(__name__)


class NativeSearches:
    """Searches by the engine, with models that are kept as long as this lives.

    Args:
        threads: that share the sentences of a batch; None for as many as torch uses.

    Attributes:
        state_bytes: what the last search had for the keys and values of its targets.
    """

    def __init__(self, threads: int | None = None):
        self._threads = threads
        self.state_bytes = 0
        self._of_batch: int | None = None  # threads of each, where several are searched at once
        self._making = Lock()  # of models: batches that are searched at once share them
        self._told: set[str] = set()
        self._members: dict[int, Member] = {}

    def find(
        self,
        engines: Sequence[PreparedModel],
        net_input: dict[str, Tensor],
        options: SearchOptions,
        how: HowToStep,
        limits: Limits,
        lanes: LaneBatch | None = None,
    ) -> list[Hypothesis] | None:
        """All hypotheses of a batch; None, and once in the log why, where it cannot search.

        The sentences begin with the memories in their `lanes`, where there are such.

        Raises:
            FloatingPointError: where the model gives no numbers.
        """
        members = [self._member(engine) for engine in engines]
        source = net_input["src_tokens"]
        reason = why_not_batch(source, net_input["src_lengths"], options, members)
        if reason is not None:
            self._tell(reason)
            return None
        memories = None
        try:
            library, level = loaded()
            if lanes is not None:
                memories = [member.memory(lanes, source) for member in members]
        except UnusableError as error:
            self._tell(str(error), logging.WARNING)
            return None
        except UnknownMemoryError as error:
            self._tell(str(error))
            return None
        by_rows, carries = how.words is not None, lanes is not None
        with self._making:
            models = [member.get(library, level, by_rows, carries) for member in members]
        threads = self._num_threads() if self._of_batch is None else self._of_batch
        request = Request(
            *(source, options, limits, how.words, how.temperature, how.attention, threads),
            memories=memories,
        )
        found = translate(models, request)
        self.state_bytes = found.state_bytes
        return hypotheses(found, source, members[0].padding if how.attention else None)

    def search_at_once(self, engines: Sequence[PreparedModel], batches: int) -> int:
        """How many of the coming batches the caller shall search at once, each in a thread of its
        own; 1 where the engine does not search these models.

        The batches share the threads that there are: one that is alone has them all.
        """
        # asked here, since PyTorch has other numbers for other threads
        threads, at_once = self._num_threads(), 1
        if all(self._member(engine).why_not is None for engine in engines) and is_usable():
            at_once = max(1, min(threads, batches))
        self._of_batch = threads // at_once
        return at_once

    def _num_threads(self) -> int:
        return torch.get_num_threads() if self._threads is None else self._threads

    def _member(self, engine: PreparedModel) -> "Member":
        key = id(engine)
        if key not in self._members:
            self._members[key] = Member(engine)
        return self._members[key]

    def _tell(self, reason: str, level: int = logging.INFO) -> None:
        if reason not in self._told:
            self._told.add(reason)
            logger.log(level, "searching without the native engine: %s", reason)


def is_usable() -> bool:
    """Whether there is an engine."""
    try:
        loaded()
    except UnusableError:
        return False
    return True


class Member:
    """A model of the generator's, and what it is in the engine.

    Attributes:
        why_not: what about it the engine cannot do; None if nothing.
        padding: symbol of its sources.
    """

    def __init__(self, engine: PreparedModel):
        model = engine.model
        self.why_not = why_not_native(model)
        if self.why_not is None and not is_final(model):
            self.why_not = "the model may still be trained"
        self.padding = getattr(model.encoder, "padding_idx", 0)
        self.max_source = model.encoder.max_positions()
        self.max_target = model.decoder.max_positions()
        self._how: tuple[Library, str, bool, bool] | None = None
        self._prepared = Prepared(self._make, model, model)

    def get(self, library: Library, level: str, by_rows: bool, carries: bool) -> NativeModel:
        """The model as its weights are now, which can do without memories if it `carries` them."""
        carries |= self._how is not None and self._how[-1]
        if self._how != (library, level, by_rows, carries):
            self._how = library, level, by_rows, carries
            self._prepared = Prepared(self._make, self._prepared.model, self._prepared.model)
        return self._prepared.get()

    def memory(self, lanes: LaneBatch, source: Tensor) -> NativeMemory | None:
        """What the sentences `(B, S)` in the lanes begin with; None for nothing.

        Raises:
            UnknownMemoryError: where the engine cannot begin with it.
        """
        model = self._prepared.model
        return native_memory(model.decoder, lanes.read(id(model), source))

    def _make(self, model: Any) -> NativeModel:
        assert self._how is not None
        library, level, by_rows, carries = self._how
        parts = Parts(library, level)
        Writer(parts, by_rows, carries).model(model)
        return NativeModel(parts)


def why_not_batch(
    source: Tensor, source_lengths: Tensor, options: SearchOptions, members: Sequence[Member]
) -> str | None:
    """What about a batch, or the models, the engine cannot do; None if nothing."""
    for member in members:
        if member.why_not is not None:
            return member.why_not
    if source.device.type != "cpu":
        return "the batch is not on a CPU"
    lengths = source_lengths.tolist()
    if min(lengths, default=0) == 0:
        return "a sentence has no word"
    if max(lengths) > min(member.max_source for member in members):
        return "a sentence is longer than the model takes"
    if options.max_len >= min(member.max_target for member in members):
        return "translations may be longer than the model makes"
    return None


def hypotheses(found: NativeResult, source: Tensor, padding: int | None) -> list[Hypothesis]:
    """What the engine found, in the search's form.

    Args:
        found: it.
        source: `(B, S)`.
        padding: symbol of the sources, where attention was wanted; None where not.
    """
    lengths = found.length.tolist()
    words = torch.from_numpy(found.words).split_with_sizes(lengths)
    scores = torch.from_numpy(found.word_scores).split_with_sizes(lengths)
    totals = torch.from_numpy(found.total).unbind()
    attentions = (
        [None] * len(lengths) if padding is None else list(_attentions(found, source, padding))
    )
    parts = zip(found.sentence.tolist(), words, totals, scores, attentions, strict=True)
    return [Hypothesis(*of_one) for of_one in parts]


def _attentions(found: NativeResult, source: Tensor, padding: int):
    """Each hypothesis' attention `(S, t)`, none of it to padding."""
    real, first = source.ne(padding), 0
    probs = torch.from_numpy(found.attention)
    for sentence, length in zip(found.sentence.tolist(), found.length.tolist(), strict=True):
        places = real[sentence].nonzero().squeeze(1)
        count = length * len(places)
        made = probs.new_zeros(source.size(1), length)
        made[places] = probs[first : first + count].view(length, len(places)).t()
        first += count
        yield made
