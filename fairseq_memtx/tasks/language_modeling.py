"""Language modeling over a text in order, with memory carried from block to block.

`--task memtx_language_modeling` takes the data and the flags of fairseq's `language_modeling`. A
batch has `--batch-size` rows of `--tokens-per-sample` tokens; each row goes on where it ended in
the batch before, and the model is given its memory from there. The memory lives here, not on the
model: training, validation and each evaluation have their own. An epoch begins with empty memories;
a checkpoint within an epoch holds those of all ranks, so that a training goes on exactly.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.data.iterators import EpochBatchIterator
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from fairseq.trainer import Trainer
from fairseq.utils import split_paths
from torch import Tensor

from ..config import ComputeOptions, flag
from ..data.binarised import check_parts
from ..data.streams import State, StreamBatches, StreamBatchIterator
from ..ground.errors import UserError
from ..models.language_model import MemoryLanguageModel
from ..modules.stream_memory import StreamBlock, StreamMemory
from ..training.told_tasks import gathered, tell_tasks
from .computing import ComputingTask
from .fields import fairseq_fields

logger = logging.getLogger(__name__)

#: Words, and what each of them is to tell; None for the next word.
Text = tuple[Tensor, Tensor | None]

#: Flags of fairseq's `language_modeling` that say how single blocks are made, and their defaults.
ONLY_FOR_BLOCKS = {
    "sample_break_mode": "none",
    "shorten_method": "none",
    "output_dictionary_size": -1,
    "add_bos_token": False,
    "pad_to_fixed_length": False,
    "pad_to_fixed_bsz": False,
}


MemtxLanguageModelingConfig = dataclasses.make_dataclass(
    "MemtxLanguageModelingConfig", fairseq_fields(ComputeOptions), bases=(LanguageModelingConfig,)
)


@register_task("memtx_language_modeling", dataclass=MemtxLanguageModelingConfig)
class MemtxLanguageModelingTask(ComputingTask, LanguageModelingTask):
    """A text in order: each row of a batch goes on where it ended in the batch before."""

    def __init__(self, args, dictionary, output_dictionary=None, targets=None):
        super().__init__(args, dictionary, output_dictionary, targets)
        tell_tasks()
        self.set_compute_options(args)
        self._streams: dict[str, StreamMemory] = {}
        self._carries_memory = True

    def build_model(self, args, from_checkpoint=False):
        """fairseq's hook.

        Raises:
            UserError: for a model that has no memory to carry.
        """
        model = super().build_model(args, from_checkpoint)
        self._carries_memory = isinstance(model, MemoryLanguageModel)
        if not self._carries_memory:
            self._refuse_without_memory(model)
        elif model.decoder.embed_positions is not None:
            logger.warning(
                "each block begins without memory: absolute positions begin anew in it, relative"
                " ones would not (%s, --no-token-positional-embeddings)",
                flag("relative_positions"),
            )
        return model

    def _refuse_without_memory(self, model) -> None:
        raise UserError(
            "--task is memtx_language_modeling: use language_modeling with a"
            f" {type(model).__name__}, which carries no memory from block to block"
        )

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """fairseq's hook: the text of a split, as one row of one block until batches are asked for.

        Raises:
            UserError: where there is no such split, or a flag asks for blocks of another kind.
        """
        self._refuse_other_blocks()
        paths = split_paths(self.args.data)
        check_parts([Path(path) for path in paths])
        text = self._load(f"{paths[(epoch - 1) % len(paths)]}/{split}", combine)
        self.datasets[split] = self._batches(text, 1, 1, 0, block=text[0].numel())

    def _load(self, path: str, combine: bool) -> Text:
        """The words of a split, and their labels where it has any."""
        return self._joined(path, self.dictionary, combine), None

    def _joined(self, path: str, dictionary: Dictionary, combine: bool) -> Tensor:
        lines = data_utils.load_indexed_dataset(path, dictionary, combine=combine)
        if lines is None:
            raise UserError(f"`{path}.bin` is missing: the data has no such split")
        return torch.cat([lines[i] for i in range(len(lines))]).long()

    def _refuse_other_blocks(self) -> None:
        """Raise `UserError` for flags that would be ignored."""
        for name, default in ONLY_FOR_BLOCKS.items():
            value = getattr(self.args, name, default)
            if value not in (None, default):
                raise UserError(
                    f"--{name.replace('_', '-')} is {value}: leave it out with --task"
                    " memtx_language_modeling, which reads the text in order"
                )

    def _batches(self, text: Text, rows, num_shards, shard, block=None) -> StreamBatches:
        tokens, labels = text
        block = block or self.args.tokens_per_sample
        eos, pad = self.dictionary.eos(), self.dictionary.pad()
        return StreamBatches(tokens, rows, block, eos, pad, num_shards, shard, labels)

    def get_batch_iterator(self, dataset, max_sentences=None, **settings) -> EpochBatchIterator:
        """fairseq's hook: all blocks of a text in order; other data as fairseq has it.

        Raises:
            UserError: where the number of rows is not given.
        """
        if not isinstance(dataset, StreamBatches):  # sentences to continue
            return super().get_batch_iterator(dataset, max_sentences=max_sentences, **settings)
        if not max_sentences:
            raise UserError(
                "--batch-size is not given: with --task memtx_language_modeling it is the number"
                " of rows that the text is cut into"
            )
        return self._stream_iterator(dataset, max_sentences, **settings)

    def _stream_iterator(
        self,
        dataset,
        rows,
        num_shards=1,
        shard_id=0,
        epoch=1,
        num_workers=0,
        data_buffer_size=0,
        **unused,
    ) -> StreamBatchIterator:
        return StreamBatchIterator(
            self._batches((dataset.tokens, dataset.labels), rows, num_shards, shard_id),
            self._restore,
            epoch=epoch,
            num_workers=num_workers,
            buffer_size=data_buffer_size,
        )

    def _restore(self, state: State) -> None:
        self._streams["train"] = StreamMemory.restored(state)

    def memtx_before_saving(self, trainer: Trainer, iterator: StreamBatchIterator) -> None:
        """Put the memories of all ranks where they are saved; called on all ranks."""
        block = 0 if iterator.end_of_epoch() else iterator.iterations_in_epoch
        stream = self._streams.get("train")
        state = None if stream is None or block == 0 else stream.state(block)
        iterator.memories = gathered(trainer, state) if block > 0 else None

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """fairseq's hook; a dummy batch (`ignore_grad`) has no memory to read or to spoil."""
        if not ignore_grad:
            sample = self._with_stream(sample, "train")
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def valid_step(self, sample, model, criterion):
        """fairseq's hook: validation has a memory of its own."""
        return super().valid_step(self._with_stream(sample, "valid"), model, criterion)

    def eval_lm_dataloader(self, dataset, batch_size=None, **settings):
        """fairseq's hook: batches that carry their memory with them, where the model has one; one
        row unless told.

        Raises:
            UserError: for a context window, in place of which there is the memory.
        """
        if settings.pop("context_window", 0) > 0:
            raise UserError("--context-window has to be 0 with --task memtx_language_modeling")
        settings = {"max_sentences": batch_size or 1, **settings}
        batches = self.get_batch_iterator(dataset, **settings).next_epoch_itr(shuffle=False)
        return _Streamed(batches) if self._carries_memory else batches

    def _with_stream(self, sample: dict[str, Any], name: str) -> dict[str, Any]:
        if "block" not in sample or not self._carries_memory:
            return sample
        if sample["block"] == 0 or name not in self._streams:
            self._streams[name] = StreamMemory()
        return with_stream(sample, self._streams[name])


def with_stream(sample: dict[str, Any], memory: StreamMemory) -> dict[str, Any]:
    """The batch with its block of a stream among the model's arguments."""
    stream = StreamBlock(memory, sample["block"])
    return {**sample, "net_input": {**sample["net_input"], "stream": stream}}


class _Streamed:
    """An iterator over batches that gives them all the same memory."""

    def __init__(self, batches):
        self.batches, self.memory = batches, StreamMemory()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return (with_stream(sample, self.memory) for sample in self.batches)
