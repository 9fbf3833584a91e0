"""Translation of documents: memories are carried from sentence to sentence, the decoder's and,
where it has one, the encoder's.

`--task memtx_document_translation` takes the data and the flags of `memtx_translation` and, beside
the data, `SPLIT.docid`. `--batch-size` or `--max-tokens` limit a batch as ever; its rows are lanes,
each a document that advances sentence by sentence (`modules.lanes`). A sentence is given the memory
that the one before it in its document has left, and a document begins with an empty one. Gradients
end with the sentence or, where lanes advance by several (`--memtx-unroll`), with those of a batch:
each is read with the memory of the one before in the graph, all losses are added up, and there is
one backward. The memory lives here, not on the model: training and validation have their own. A
checkpoint within an epoch holds those of all ranks, so that a training goes on exactly.
"""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.tasks import register_task
from fairseq.trainer import Trainer
from torch import Tensor

from ..config import DocumentOptions, LengthOptions, flag, from_namespace
from ..data.carrying import State
from ..data.documents import (
    DocumentBatchIterator,
    DocumentDataset,
    LanePlan,
    batch_columns,
    lane_rows,
    read_documents,
)
from ..generation.documents import DocumentSearch, Reader, refuse_without_memory
from ..ground.errors import UserError
from ..modules.lane_memory import LaneBatch, LaneColumns, LaneMemories
from ..modules.lanes import BatchLimits, Documents
from ..modules.schedule import LengthSchedule
from ..training.told_tasks import TrainingState, gathered
from .fields import fairseq_fields
from .translation import MemtxTranslationConfig, MemtxTranslationTask

logger = logging.getLogger(__name__)

NAME = "memtx_document_translation"

MemtxDocumentTranslationConfig = dataclasses.make_dataclass(
    "MemtxDocumentTranslationConfig",
    fairseq_fields(DocumentOptions),
    bases=(MemtxTranslationConfig,),
)


@register_task(NAME, dataclass=MemtxDocumentTranslationConfig)
class MemtxDocumentTranslationTask(MemtxTranslationTask):
    """Documents in lanes: each row of a batch goes on where its document stands.

    Raises:
        UserError: for options that are impossible, alone or together.
    """

    carries_memory = True

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self.document_options = from_namespace(cfg, DocumentOptions)
        if cfg.left_pad_target:
            raise UserError(f"--left-pad-target cannot be used with --task {NAME}")
        self.unroll_schedule = unroll_schedule(self.length_options, self.document_options.unroll)
        if self.generator_options.generator != "fast":
            logger.info("documents are searched by %s fast", flag("generator"))
            self.generator_options = dataclasses.replace(self.generator_options, generator="fast")
        self._documents: dict[str, Documents] = {}
        self._search: DocumentSearch | None = None
        self._told_of_lines = False
        self._memories: dict[str, LaneMemories] = {}

    def build_model(self, cfg, from_checkpoint=False):
        """fairseq's hook.

        Raises:
            UserError: for a model whose memory ends with its sentence.
        """
        model = super().build_model(cfg, from_checkpoint)
        refuse_without_memory(model)
        return model

    def load_dataset(self, split, epoch=1, **kwargs):
        """fairseq's hook: a split, and its documents.

        Raises:
            UserError: where the ids of the documents are not those of its pairs.
        """
        super().load_dataset(split, epoch=epoch, **kwargs)
        paths = utils.split_paths(self.cfg.data)
        folder = paths[(epoch - 1) % len(paths)] if split == self.cfg.train_subset else paths[0]
        path = Path(os.path.join(folder, f"{split}.docid"))
        self._documents[split] = read_documents(path, len(self.datasets[split]))

    def get_batch_iterator(self, dataset, **settings):
        """fairseq's hook: documents in lanes; other data (typed lines) as sentences.

        Raises:
            UserError: where the size of a batch has no limit, or a flag asks for another order.
        """
        split = next((name for name, one in self.datasets.items() if one is dataset), None)
        if split is None:
            return super().get_batch_iterator(dataset, **settings)
        return self._lane_iterator(split, **settings)

    def _lane_iterator(
        self,
        split,
        max_tokens=None,
        max_sentences=None,
        max_positions=None,
        ignore_invalid_inputs=False,
        seed=1,
        num_shards=1,
        shard_id=0,
        num_workers=0,
        epoch=1,
        data_buffer_size=0,
        **unused,
    ) -> DocumentBatchIterator:
        training, shard = self.memtx_training, {"num_shards": num_shards, "shard_id": shard_id}
        if training is None:
            shard |= self._shard()
        else:
            refuse_other_orders(training)
        plan = LanePlan(
            limits_of(max_sentences, max_tokens),
            self.document_options.lanes,
            None if training is None else seed,
            (shard["num_shards"], shard["shard_id"]),
            self._unroll(split),
            self.unroll_schedule,
        )
        documents = self._kept(split, max_positions, ignore_invalid_inputs)
        return DocumentBatchIterator(
            DocumentDataset(self.datasets[split], documents),
            plan,
            self._restore,
            updates=lambda: 0 if training is None else training.updates,
            update_freq=(1,) if training is None else training.update_freq,
            epoch=epoch,
            num_workers=num_workers,
            buffer_size=data_buffer_size,
        )

    def _unroll(self, split: str) -> int:
        """Sentences by which lanes advance."""
        in_training = self.memtx_training is not None and split == self.cfg.train_subset
        return self.document_options.unroll if in_training else 1

    def _kept(self, split: str, max_positions: Any, ignore: bool) -> Documents:
        """The documents of a split without the sentences that the model cannot take."""
        dataset, documents = self.datasets[split], self._documents[split]
        if max_positions is None:
            return documents
        numbers = np.arange(len(dataset), dtype=np.int64)
        kept = self.filter_indices_by_size(numbers, dataset, max_positions, ignore)
        return documents if len(kept) == len(numbers) else documents.only(np.asarray(kept))

    def _restore(self, state: State) -> None:
        self._memories["train"] = LaneMemories.restored(state)

    def memtx_before_saving(self, trainer: Trainer, iterator: DocumentBatchIterator) -> None:
        """Put the memories of all ranks where they are saved; called on all ranks."""
        within = not iterator.end_of_epoch() and iterator.iterations_in_epoch > 0
        memories = self._memories.get("train")
        state = memories.state() if within and memories is not None else None
        iterator.memories = gathered(trainer, state) if within else None

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's hook; a dummy batch (`ignore_grad`) has no memory to read or to spoil."""
        name = None if ignore_grad else "train"
        if self.document_options.unroll > 1:
            criterion = Unrolled(criterion, self._memories_of(name))
        else:
            sample = self._with_memory(sample, name)
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def valid_step(self, sample, model, criterion):
        """fairseq's hook: validation has memories of its own."""
        return super().valid_step(self._with_memory(sample, "valid"), model, criterion)

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        """fairseq's hook: documents go on from the translations before; typed lines stand alone.

        Raises:
            UserError: for a prefix or constraints.
        """
        if "lanes" not in sample:
            self._tell_of_lines()
            return super().inference_step(generator, models, sample, prefix_tokens, constraints)
        if prefix_tokens is not None or constraints is not None:
            raise UserError(f"--prefix-size and --constraints cannot be used with --task {NAME}")
        search = self._search
        if search is None or search.generator is not generator or search.models != models:
            reader = Reader(models, self.source_dictionary.pad(), self.cfg.left_pad_source)
            search = DocumentSearch(generator, models, reader, self.document_options.context)
            self._search = search
        gold = None
        if self.document_options.gold_context and sample.get("target") is not None:
            pad = self.target_dictionary.pad()
            gold = [row[row.ne(pad)] for row in sample["target"]]
        return search.translate(sample["net_input"], lane_rows(sample), gold)

    def _tell_of_lines(self) -> None:
        if not self._told_of_lines:
            logger.info(
                "lines are translated as sentences, without memory: `memtx translate --documents`"
                " translates documents"
            )
        self._told_of_lines = True

    def _with_memory(self, sample: dict[str, Any], name: str | None) -> dict[str, Any]:
        """The batch with its lanes among the model's arguments."""
        return with_lanes(sample, LaneBatch(self._memories_of(name), lane_rows(sample)))

    def _memories_of(self, name: str | None) -> LaneMemories:
        """Those of training or of validation; None for new ones."""
        return LaneMemories() if name is None else self._memories.setdefault(name, LaneMemories())


def with_lanes(batch: dict[str, Any], lanes: LaneBatch) -> dict[str, Any]:
    """The batch with its lanes among the model's arguments."""
    return {**batch, "net_input": {**batch["net_input"], "lanes": lanes}}


class Unrolled:
    """A criterion over the columns of a batch, gradients going back through their memories.

    Args:
        criterion: of one column.
        memories: of the lanes.
    """

    def __init__(self, criterion: FairseqCriterion, memories: LaneMemories):
        self.criterion, self.memories = criterion, memories

    def __call__(self, model: Any, sample: dict[str, Any]) -> tuple[Tensor, Any, dict[str, Any]]:
        """The sums over columns of the loss, of the sample size, and of what is logged."""
        columns = batch_columns(sample)
        lanes = LaneColumns(self.memories, [lane_rows(column) for column in columns])
        found = [
            self.criterion(model, with_lanes(column, one))
            for column, one in zip(columns, lanes.batches(), strict=True)
        ]
        losses, sizes, logs = zip(*found, strict=True)
        logged = {name: sum(log[name] for log in logs) for name in logs[0]}
        return torch.stack(losses).sum(), sum(sizes), logged


def unroll_schedule(options: LengthOptions, unroll: int) -> LengthSchedule | None:
    """How the number of sentences unrolled grows with the updates; None for all from the start.

    Raises:
        UserError: for a schedule of lengths, or one that leads nowhere.
    """
    if options.length_schedule == "none":
        return None
    name, last = flag("length_schedule"), options.length_end or unroll
    if options.length_unit != "sentences" or options.length_schedule == "competence":
        raise UserError(
            f"{name} is {options.length_schedule} in {options.length_unit}: with --task {NAME} it"
            f" has to be linear, root or stages with {flag('length_unit')} sentences"
        )
    if options.length_updates == 0 or last != unroll or options.length_mode != "order":
        raise UserError(
            f"{name} in sentences needs {flag('length_updates')}, and goes up to {flag('unroll')}"
            f" {unroll}: leave {flag('length_end')} and {flag('length_mode')} out"
        )
    return LengthSchedule(
        options.length_schedule,
        min(options.length_start or 1, unroll),
        unroll,
        options.length_updates,
        options.length_step,
        options.length_stages,
    )


def refuse_other_orders(training: TrainingState) -> None:
    """Raise `UserError` for flags that order batches otherwise."""
    given = {
        "--curriculum": training.sorted_epochs > 0,
        "--grouped-shuffling": training.grouped_shuffling,
    }
    for name, is_given in given.items():
        if is_given:
            raise UserError(f"{name}, which orders batches, cannot be used with --task {NAME}")


def limits_of(max_sentences: int | None, max_tokens: int | None) -> BatchLimits:
    """How large a batch may be.

    Raises:
        UserError: where it is not told.
    """
    try:
        return BatchLimits(max_sentences, max_tokens)
    except ValueError:
        raise UserError(f"--task {NAME} needs --batch-size or --max-tokens") from None
