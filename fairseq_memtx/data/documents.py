"""Binarised sentences as documents, and batches of them in lanes (`modules.lanes`).

`data_prep` writes the document of each binarised pair to `SPLIT.docid`, a line for each; where
there is no such file, each pair is a document of its own.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import BaseWrapperDataset

from ..ground.errors import UserError
from ..modules.lane_memory import LaneRow
from ..modules.lanes import (
    LANES_A_ROW,
    BatchLimits,
    Documents,
    Place,
    Turns,
    columns_of,
    plan_batches,
    words_per_slot,
)
from ..modules.schedule import LengthSchedule
from .batch_iterator import KnowsUpdates, freq_of_epoch
from .carrying import CarryingIterator, State

logger = logging.getLogger(__name__)


def read_documents(path: Path, pairs: int) -> Documents:
    """The documents of a binarised set.

    Args:
        path: `SPLIT.docid`; where there is none, each pair is a document.
        pairs: of the set.

    Raises:
        UserError: where the file has another number of lines, or is no text.
    """
    if not path.is_file():
        logger.info("`%s` is missing: each sentence is a document of its own", path)
        return Documents.of_sizes(np.ones(pairs, dtype=np.int64))
    try:
        ids = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"`{path}` is not UTF-8: prepare the data again") from None
    if ids[-1] == "":
        ids.pop()
    if len(ids) != pairs:
        raise UserError(
            f"`{path}` has {len(ids)} lines instead of one for each of the {pairs} pairs: prepare"
            " the data again"
        )
    return Documents.of_ids(ids)


class DocumentDataset(BaseWrapperDataset):
    """fairseq's `LanguagePairDataset`, indexed by `Place`.

    A batch has under "lanes" a `LaneRow` of each of its rows, as plain lists, which fairseq's way
    to a device leaves as they are; and under "following", where lanes advance by several sentences,
    the batches of their second, third, ... ones.

    Args:
        pairs: the sentences.
        documents: of those that are read.
    """

    def __init__(self, pairs: Any, documents: Documents):
        super().__init__(pairs)
        self.documents = documents
        self._previous = documents.previous(len(pairs))

    def __getitem__(self, place: Place) -> dict[str, Any]:
        sentence, lane = place
        row = LaneRow(lane, sentence, int(self._previous[sentence]))
        return {**self.dataset[sentence], "lane": list(row)}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """fairseq's hook: a batch that knows the lane of each of its rows."""
        places = [Place(sample["id"], sample["lane"][0]) for sample in samples]
        by_number = {sample["id"]: sample for sample in samples}
        first, *following = [
            self._column([by_number[place.sentence] for place in column])
            for column in columns_of(places)
        ] or [self._column([])]
        return {**first, "following": following} if following else first

    def _column(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().collater(samples)
        if batch:  # fairseq sorts the rows
            rows = {sample["id"]: sample["lane"] for sample in samples}
            batch["lanes"] = [rows[number] for number in batch["id"].tolist()]
        return batch

    def prefetch(self, indices: list[Place]) -> None:
        """fairseq's hook of datasets that are read ahead."""
        self.dataset.prefetch([place.sentence for place in indices])


def lane_rows(batch: dict[str, Any]) -> list[LaneRow]:
    """The rows of a batch of `DocumentDataset`."""
    return [LaneRow(*row) for row in batch["lanes"]]


def batch_columns(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The batches that a batch of `DocumentDataset` consists of, in order."""
    first = {key: value for key, value in batch.items() if key != "following"}
    return [first, *batch.get("following", [])]


@dataclass(frozen=True)
class LanePlan:
    """How documents are read.

    Attributes:
        limits: of a batch.
        num_lanes: documents that are open at once, on each rank; 0 for as many as keep padding low.
        seed: of the order, which is another in each epoch; None for the order of the data.
        ranks: how many there are, and which one this is.
        unroll: sentences by which a lane advances; the first ones of a document are as many or
            fewer, by chance.
        schedule: how `unroll` is reached with the updates, from fewer; None for at once.
    """

    limits: BatchLimits
    num_lanes: int = 0
    seed: int | None = None
    ranks: tuple[int, int] = (1, 0)
    unroll: int = 1
    schedule: LengthSchedule | None = None

    def lanes_for(self, lengths: np.ndarray) -> int:
        """Lanes for sentences of these lengths."""
        return self.num_lanes or LANES_A_ROW * self.limits.usual_rows(lengths, self.unroll)

    def turns(self, documents: int, epoch: int, first_update: int, update_freq: int) -> Turns:
        """By how many sentences the lanes advance in an epoch.

        Args:
            documents: how many there are.
            epoch: its number.
            first_update: updates made before it.
            update_freq: batches of an update.
        """
        if self.unroll == 1 or self.seed is None:
            return Turns(self.unroll)
        drawn = np.random.default_rng((self.seed, epoch, self.unroll))
        first = drawn.integers(1, self.unroll + 1, size=documents)
        schedule = self.schedule
        if schedule is None or first_update >= schedule.updates:
            return Turns(self.unroll, first)
        return Turns(
            self.unroll,
            first,
            lambda batch: min(schedule.at(first_update + batch // update_freq), self.unroll),
        )

    def order(self, documents: int, epoch: int) -> np.ndarray:
        """The numbers of the documents in the order of an epoch."""
        if self.seed is None:
            return np.arange(documents)
        return np.random.default_rng((self.seed, epoch)).permutation(documents)


class DocumentBatchIterator(KnowsUpdates, CarryingIterator):
    """fairseq's iterator over epochs of documents in lanes.

    All ranks plan the lanes of all: each gets documents of its own and as many batches as the
    others, the last ones empty where it has fewer.

    Args:
        dataset: the documents.
        plan: how they are read.
        restore: is given the memories at the position where a training goes on.
        updates: tells the number of updates made so far.
        update_freq: fairseq's `--update-freq`: batches of an update, by epoch.
        others: arguments of fairseq's iterator.
    """

    def __init__(
        self,
        dataset: DocumentDataset,
        plan: LanePlan,
        restore: Callable[[State], None],
        updates: Callable[[], int] = lambda: 0,
        update_freq: Sequence[int] = (1,),
        **others: Any,
    ):
        self._plan = plan
        self.count_updates(updates, update_freq)
        self._sides = np.array(dataset.sizes).reshape(len(dataset), -1).T  # (sides, n)
        self._longest = self._sides.max(axis=0)
        documents = dataset.documents
        self._num_lanes = plan.lanes_for(self._longest[documents.sentences])
        shape = {
            "lanes": self._num_lanes,
            "limits": [plan.limits.sentences, plan.limits.tokens]
            + ([plan.unroll] if plan.unroll > 1 else []),
            "seed": plan.seed,
            "sentences": len(documents.sentences),
        }
        super().__init__(
            restore,
            shape,
            "lanes, limits of a batch, seed, sentences and ranks",
            plan.ranks,
            dataset=dataset,
            collate_fn=dataset.collater,
            batch_sampler=lambda dataset, epoch: self._all_batches(epoch),
            num_shards=plan.ranks[0],
            shard_id=plan.ranks[1],
            disable_shuffling=True,
            **others,
        )

    def load_state_dict(self, state_dict: State) -> None:
        """Go on in the middle of an epoch, whose batches are the same as when it began."""
        self._frozen_batches = None
        super().load_state_dict(state_dict)

    def _all_batches(self, epoch: int) -> list[list[Place]]:
        """The batches of all ranks in turn."""
        documents: Documents = self.dataset.documents
        order = self._plan.order(len(documents), epoch)
        freq = freq_of_epoch(self.update_freq, max(epoch, 1))
        turns = self._plan.turns(len(documents), epoch, self.first_update, freq)
        by_rank = [
            plan_batches(documents, own, self._longest, self._plan.limits, self._num_lanes, turns)
            for own in documents.shared_out(order, self._plan.ranks[0])
        ]
        self._tell(documents, by_rank)
        together = itertools.zip_longest(*by_rank, fillvalue=[])
        return [batch for batches in together for batch in batches]

    def _tell(self, documents: Documents, by_rank: Sequence[list[list[Place]]]) -> None:
        batches = [batch for own in by_rank for batch in own]
        logger.info(
            "%d documents of %d sentences in %d batches (%.1f sentences each, %d lanes on each of"
            " %d ranks): %.3f tokens a slot of a batch",
            len(documents), len(documents.sentences), len(batches),
            len(documents.sentences) / max(1, len(batches)), self._num_lanes, len(by_rank),
            words_per_slot(batches, *self._sides),
        )  # fmt: skip
