"""Which batches an epoch holds while a length schedule runs: the modes order, filter and prefix.

Batches are of pairs alike in length and as full as `--max-tokens` allows, so that an update sees as
many tokens as without a schedule, and a short one takes a recurrent decoder fewer steps.

- order: every batch comes once an epoch, at random among those that the limit of its position
  allows. For a schedule of about an epoch or less, where nothing is to be lost or repeated. What
  was postponed comes later: the end of that epoch is longer than usual. Where the epoch has too few
  short batches for the schedule, the shortest left come first, and a warning says so.
- filter: longer pairs are left out until the schedule ends, and shorter ones repeated in their
  place. For a schedule of several epochs, or where the short pairs alone are plenty.
- prefix: targets are cut to the limit, without an end of sentence, and trained against the whole
  source. For data with few short pairs: no pair is left out, but batches are no fuller than their
  sources allow. Where those are as long as the targets, an update takes fewer steps but a token
  does not.

The limit may be told in segments of a decoder that works in them, such as Transformer-XL. In the
mode prefix the schedule then drives over how many segments such a decoder is unrolled.

What a length counts matters nowhere but in `Pairs`: training on documents would hold the number of
sentences of each document there, and cut a document to its first sentences where `PrefixDataset`
cuts a target.

A curriculum is a pure function of the data, the seed, the epoch and the number of updates made
before it: the same on every rank, and the same again when training is resumed.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fairseq.data import data_utils

from ..config import LengthOptions, flag
from ..ground.errors import UserError
from ..modules.arrangement import arrange, count_beyond
from ..modules.schedule import UNLIMITED, LengthDistribution, LengthSchedule
from .prefix_dataset import CutPair

logger = logging.getLogger(__name__)

#: What a schedule allows at its start unless told otherwise (competence c0 of Platanios et al.).
FIRST_SHARE = 0.01

#: Positions of an epoch, as a share, that may miss their limit before it is worth a warning.
TOLERATED_SHARE = 0.1

Batch = Sequence[int | CutPair]


@dataclass(frozen=True)
class Pairs:
    """The pairs to train on.

    Attributes:
        indices: `(M,)` int64, their numbers in the dataset.
        source, target: int64 number of tokens of every pair of the dataset, by its number.
    """

    indices: np.ndarray
    source: np.ndarray
    target: np.ndarray

    def lengths(self, by: str) -> np.ndarray:
        """Length of every pair of the dataset, by target, source or both (the longer one)."""
        if by == "both":
            return np.maximum(self.source, self.target)
        return self.source if by == "source" else self.target


@dataclass(frozen=True)
class Batching:
    """fairseq's flags on the size of a batch: `--max-tokens` (padding included), `--batch-size`
    (pairs) and `--required-batch-size-multiple`.
    """

    max_tokens: int | None
    max_sentences: int | None
    multiple: int

    def batches(self, indices: np.ndarray, tokens: np.ndarray) -> list[np.ndarray]:
        """Cut `indices` into batches in their order; `tokens` is by number in the dataset."""
        batches = data_utils.batch_by_size(
            indices,
            num_tokens_fn=tokens.__getitem__,
            num_tokens_vec=tokens[indices],
            max_tokens=self.max_tokens,
            max_sentences=self.max_sentences,
            required_batch_size_multiple=self.multiple,
        )
        return [np.asarray(batch, dtype=np.int64) for batch in batches]


class Curriculum(ABC):
    """The batches of the epochs while `schedule` runs.

    Args:
        pairs: what there is to train on.
        schedule: the limit by update.
        batching: sizes of the batches.
        by: the length that the schedule limits.
        seed: of the run.
    """

    def __init__(
        self, pairs: Pairs, schedule: LengthSchedule, batching: Batching, by: str, seed: int
    ):
        self.pairs = pairs
        self.schedule = schedule
        self.batching = batching
        self.lengths = pairs.lengths(by)
        self.distribution = LengthDistribution(self.lengths[pairs.indices])
        self.seed = seed

    @abstractmethod
    def epoch_batches(self, epoch: int, first_update: int, per_update: int) -> list[Batch]:
        """All ranks' batches of an epoch that begins after `first_update` updates.

        Args:
            epoch: from 1.
            first_update: an update before the schedule's end.
            per_update: batches of an update, on all ranks together.
        """

    def share(self, limit: int) -> float:
        """Share of the data that `limit` leaves to train on."""
        return self.distribution.share(limit)

    def random(self, epoch: int) -> np.random.RandomState:
        """The epoch's own random numbers, the same on every rank."""
        return np.random.RandomState(self.seed + epoch)

    def sorted_batches(
        self,
        indices: np.ndarray,
        lengths: np.ndarray,
        tokens: np.ndarray,
        random: np.random.RandomState,
    ) -> list[np.ndarray]:
        """Batches of pairs alike in `lengths`, then in `tokens`; pairs equal in both are shuffled.

        fairseq sorts by source first. This makes batches of one length instead: without long
        targets in the short stages, and with the fewest steps for a recurrent decoder.
        """
        shuffled = random.permutation(indices)
        ordered = shuffled[np.lexsort((tokens[shuffled], lengths[shuffled]))]
        return self.batching.batches(ordered, tokens)


class OrderedCurriculum(Curriculum):
    """Whole pairs: "order" (each batch once an epoch) and, with `repeat`, "filter".

    An epoch has as many batches in either mode as without a limit. In "filter" the place of those
    beyond the limit is taken by further passes over those within.
    """

    def __init__(self, *args: Any, repeat: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.repeat = repeat
        self.batches = self.sorted_batches(
            self.pairs.indices, self.lengths, self.pairs.lengths("both"), self.random(epoch=0)
        )
        self.batch_lengths = np.array([self.lengths[batch].max() for batch in self.batches])

    def epoch_batches(self, epoch: int, first_update: int, per_update: int) -> list[Batch]:
        updates = range(first_update, first_update + math.ceil(len(self.batches) / per_update))
        limits = np.array([self.schedule.at(update) for update in updates])
        limits = np.repeat(limits, per_update)[: len(self.batches)]
        if not self.repeat:
            self._tell_whether_kept(epoch, limits)
        order = arrange(self.batch_lengths, limits, self.random(epoch), self.repeat)
        return [self.batches[number].tolist() for number in order]

    def _tell_whether_kept(self, epoch: int, limits: np.ndarray) -> None:
        beyond = count_beyond(self.batch_lengths, limits) / len(limits)
        if beyond > TOLERATED_SHARE:
            logger.warning(
                "the length schedule grows slower than epoch %d needs: %.0f %% of its batches come"
                " before their length is allowed, shortest first. Shorten it (%s) or use %s filter"
                " or prefix.",
                epoch, 100 * beyond, flag("length_updates"), flag("length_mode"),
            )  # fmt: skip


class PrefixCurriculum(Curriculum):
    """Every pair once an epoch, its target cut to the limit of the moment.

    The batches of each limit are formed anew from the pairs left, so that they are as full as
    `--max-tokens` allows; an epoch has fewer of them while targets are cut.
    """

    def epoch_batches(self, epoch: int, first_update: int, per_update: int) -> list[Batch]:
        random, update = self.random(epoch), first_update
        left, plan = self.pairs.indices, list[Batch]()
        while len(left) > 0:
            limit = self.schedule.at(update)
            batches = self._shuffled_batches(left, limit, random)
            if limit < UNLIMITED:
                until = self.schedule.until(update)
                batches = batches[: (until - update) * per_update]
                update = until
            plan += [cut(batch, limit) for batch in batches]
            left = np.setdiff1d(left, np.concatenate(batches), assume_unique=True)
        return plan

    def share(self, limit: int) -> float:
        """Share of the target tokens that is left when all targets are cut to `limit`."""
        return self.distribution.token_share(limit)

    def _shuffled_batches(
        self, indices: np.ndarray, limit: int, random: np.random.RandomState
    ) -> list[np.ndarray]:
        lengths = np.minimum(self.lengths, limit)
        tokens = np.maximum(self.pairs.source, lengths)
        batches = self.sorted_batches(indices, lengths, tokens, random)
        return [batches[number] for number in random.permutation(len(batches))]


def cut(batch: np.ndarray, limit: int) -> Batch:
    """The batch with its targets cut to `limit`."""
    if limit == UNLIMITED:
        return batch.tolist()
    return [CutPair(index, limit) for index in batch.tolist()]


def make_schedule(
    options: LengthOptions, data: LengthDistribution, epoch_updates: int, unit: int = 1
) -> LengthSchedule:
    """Fill in what the options leave to the data.

    Args:
        options: lengths in units.
        data: lengths in subwords, as those of the schedule.
        epoch_updates: updates of an epoch.
        unit: subwords of a unit.

    Raises:
        UserError: where no pair is as short as the schedule's start.
    """
    shortest, longest = math.ceil(data.shortest / unit), math.ceil(data.longest / unit)
    start = options.length_start or math.ceil(data.shortest_limit(FIRST_SHARE) / unit)
    if start < shortest and options.length_mode != "prefix":
        raise UserError(
            f"{flag('length_start')} is {start}: it has to be at least {shortest}, the length of"
            " the shortest pair"
        )
    end = options.length_end or max(start, longest)
    if end < start:
        raise UserError(
            f"{flag('length_end')} is {end}: it has to be at least {start}, which a hundredth of"
            " the pairs keep to"
        )
    return LengthSchedule(
        kind=options.length_schedule,
        start=start * unit,
        end=end * unit,
        updates=options.length_updates or epoch_updates,
        step=options.length_step * unit,
        stages=options.length_stages,
        data=data,
    )


def make_curriculum(
    options: LengthOptions,
    pairs: Pairs,
    batching: Batching,
    seed: int,
    epoch_updates: int,
    unit: int = 1,
) -> Curriculum:
    """The curriculum that `options`, whose lengths are in units of `unit` subwords, describe."""
    data = LengthDistribution(pairs.lengths(options.length_by)[pairs.indices])
    schedule = make_schedule(options, data, epoch_updates, unit)
    common = (pairs, schedule, batching, options.length_by, seed)
    if options.length_mode == "prefix":
        return PrefixCurriculum(*common)
    return OrderedCurriculum(*common, repeat=options.length_mode == "filter")
