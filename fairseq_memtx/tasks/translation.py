"""fairseq's translation task with exact resuming, a length curriculum and a warm start.

`--task memtx_translation` has every flag of `--task translation` and, unless one of its own is
given, differs from it in two things: a training that is resumed goes on bit for bit (fp32) as if it
had not been interrupted, and cross entropy is computed in pieces, which is the same up to rounding
(`--memtx-loss`).
"""

import dataclasses
import functools
import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from fairseq import utils
from fairseq.data.indexed_dataset import MMapIndexedDataset
from fairseq.data.iterators import EpochBatchIterator
from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from omegaconf import II

from ..checkpoints.fingerprints import check_split
from ..config import (
    ComputeOptions,
    GeneratorOptions,
    LengthOptions,
    WarmStartOptions,
    check_lenpen,
    flag,
    from_namespace,
)
from ..data.batch_iterator import CurriculumBatchIterator
from ..data.binarised import check_numbers
from ..data.curriculum import Batching, Curriculum, Pairs, make_curriculum
from ..data.prefix_dataset import PrefixDataset
from ..generation.generator import generator_class
from ..generation.search import check_eight_bits, own_settings
from ..generation.steppers import is_final
from ..generation.whole_lines import search_whole
from ..ground.errors import UserError
from ..ground.text import clean
from ..models.memory_encoder import MemoryEncoder
from ..modules.rounding import ROUNDED, round_model
from ..training.told_tasks import TrainingState, tell_tasks
from ..training.warm_start import start_from
from .computing import ComputingTask
from .fields import fairseq_fields

logger = logging.getLogger(__name__)


MemtxTranslationConfig = dataclasses.make_dataclass(
    "MemtxTranslationConfig",
    [
        *fairseq_fields(LengthOptions, WarmStartOptions, GeneratorOptions, ComputeOptions),
        # What fairseq's own flags say: whether a training starts afresh, and in which precision.
        ("save_dir", str, II("checkpoint.save_dir")),
        ("restore_file", str, II("checkpoint.restore_file")),
        ("finetune_from_model", Any, II("checkpoint.finetune_from_model")),
        ("bf16", bool, II("common.bf16")),
        ("num_shards", int, II("dataset.num_shards")),
        ("shard_id", int, II("dataset.shard_id")),
    ],
    bases=(TranslationConfig,),
)


@register_task("memtx_translation", dataclass=MemtxTranslationConfig)
class MemtxTranslationTask(ComputingTask, TranslationTask):
    """fairseq's translation task with a curriculum, a warm start and our generators.

    Attributes:
        carries_memory: whether a model's memory goes on from one sentence to the next.

    Raises:
        UserError: for options that are impossible, alone or together.
    """

    carries_memory = False

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        tell_tasks()
        self.set_compute_options(cfg)
        self.length_options = from_namespace(cfg, LengthOptions)
        self.warm_start_options = from_namespace(cfg, WarmStartOptions)
        self.generator_options = from_namespace(cfg, GeneratorOptions)
        self.memtx_training: TrainingState | None = None
        self.curriculum: Curriculum | None = None
        #: Subwords of a segment of the model, where it works in segments.
        self.segment_len: int | None = None
        self._updates = 0
        #: What was made last of lines that were typed.
        self._typed: Any = None
        self._curriculum_iterators: dict[Any, CurriculumBatchIterator] = {}

    @property
    def has_curriculum(self) -> bool:
        """Whether the lengths grow."""
        return self.length_options.length_schedule != "none"

    def build_model(self, cfg, from_checkpoint=False):
        """fairseq's hook; a training that starts afresh takes its first weights where told."""
        model = super().build_model(cfg, from_checkpoint)
        if from_checkpoint and (self.generator_options.int8 or getattr(cfg, ROUNDED, False)):
            round_model(model)
        options = getattr(getattr(model, "decoder", None), "options", None)
        self.segment_len = getattr(options, "segment_len", None)
        if not self.carries_memory and not from_checkpoint:
            tell_of_empty_memory(model)
        if self.warm_start_options.init_from and not from_checkpoint:
            if self.is_resumed():
                logger.info("no warm start: this training was begun before and goes on")
            else:
                self._start_from(model, cfg)
        return model

    def _start_from(self, model, cfg) -> None:
        if self.cfg.finetune_from_model:
            raise UserError(
                f"only one of {flag('init_from')} and --finetune-from-model can be the start"
            )
        start_from(self.warm_start_options, model, cfg, self)

    def is_resumed(self) -> bool:
        """Whether fairseq is going to load a checkpoint of the training itself."""
        path = self.cfg.restore_file
        if path == "checkpoint_last.pt":
            path = os.path.join(self.cfg.save_dir, path)
        return os.path.exists(path)

    def load_dataset(self, split, *args, **kwargs):
        """fairseq's hook: data as data_prep wrote it, with targets that can be cut where the
        curriculum cuts them.
        """
        for folder in utils.split_paths(self.cfg.data):
            check_split(Path(folder), split)
        super().load_dataset(split, *args, **kwargs)
        self._check_numbers(self.datasets[split])
        prefixes = self.has_curriculum and self.length_options.length_mode == "prefix"
        if split == self.cfg.train_subset and prefixes:
            self.datasets[split] = PrefixDataset(self.datasets[split])

    def _check_numbers(self, dataset) -> None:
        """Refuse binary files with numbers that the dictionary has no word for."""
        for side, dictionary in (("src", self.src_dict), ("tgt", self.tgt_dict)):
            found = getattr(dataset, side, None)
            if isinstance(found, MMapIndexedDataset):
                check_numbers(found._path, len(dictionary))

    def get_batch_iterator(self, dataset, **kwargs):
        """fairseq's hook: an iterator over epochs; with our curriculum where it is to train on."""
        if self.memtx_training is None:
            kwargs |= self._shard()
        if dataset is self._typed:
            kwargs["max_positions"] = None  # `inference_step` cuts what is too long
            if kwargs.get("max_tokens") and len(dataset):  # each line has its translation
                kwargs["max_tokens"] = max(kwargs["max_tokens"], int(max(dataset.src_sizes)))
        if self.memtx_training is None or not self.has_curriculum:
            return self._exact_iterator(dataset, **kwargs)
        self._updates = self.memtx_training.updates
        if self._is_reusable(dataset, kwargs) and dataset in self._curriculum_iterators:
            return self._curriculum_iterators[dataset]
        iterator = self._curriculum_iterator(dataset, self.memtx_training, kwargs)
        if self._is_reusable(dataset, kwargs):
            self._curriculum_iterators[dataset] = iterator
        return iterator

    def _shard(self) -> dict[str, int]:
        """The part of the data that this process decodes or validates, where it is told to.

        Raises:
            UserError: for a part that does not exist.
        """
        shards, number = (getattr(self.cfg, name, 0) for name in ("num_shards", "shard_id"))
        if not isinstance(shards, int) or shards < 2:
            return {}
        if not 0 <= number < shards:
            raise UserError(f"--shard-id is {number}: it has to be from 0 to {shards - 1}")
        return {"num_shards": shards, "shard_id": number}

    def filter_indices_by_size(
        self, indices, dataset, max_positions=None, ignore_invalid_inputs=False
    ):
        """fairseq's hook; while training, pairs too long to validate on are left out.

        Raises:
            UserError: for a pair that is too long elsewhere, unless it is to be skipped.
        """
        in_validation = self.memtx_training is not None and dataset is not self.datasets.get(
            self.cfg.train_subset
        )
        skip = ignore_invalid_inputs or in_validation
        kept, ignored = dataset.filter_indices_by_size(indices, max_positions)
        if len(ignored) and not skip:
            raise UserError(
                f"pair {ignored[0]} of the data (and {len(ignored) - 1} more) has"
                f" {dataset.size(ignored[0])} subwords, but the model takes {max_positions}: leave"
                " such pairs out with --skip-invalid-size-inputs-valid-test; `memtx translate`"
                " translates long lines in parts"
            )
        if len(ignored):
            logger.warning("%d pairs have more subwords than the model takes (%s) and are left out,"
                           " the first is pair %d", len(ignored), max_positions,
                           ignored[0])  # fmt: skip
        return kept

    def get_interactive_tokens_and_lengths(self, lines, encode_fn):
        """fairseq's hook; lines are cleaned as those of the training data were."""
        return super().get_interactive_tokens_and_lengths(list(map(clean, lines)), encode_fn)

    def build_dataset_for_inference(self, src_tokens, src_lengths, **options):
        """fairseq's hook; a line counts as no longer than what the model takes at once."""
        most = self.cfg.max_source_positions
        lengths = [min(int(length), most) for length in src_lengths]
        made = super().build_dataset_for_inference(src_tokens, lengths, **options)
        self._typed = made  # which another thread may change before we return
        return made

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        """fairseq's hook; blank sources stay blank, and too long ones are translated in parts."""
        stock = super().inference_step
        if prefix_tokens is not None or constraints is not None:
            return stock(generator, models, sample, prefix_tokens, constraints)
        most, left_pad = self._form_of_sources
        most = min([most, *(model.max_positions()[0] for model in models)])
        return search_whole(
            lambda part: stock(generator, models, part),
            sample, self.source_dictionary, most, left_pad,
        )  # fmt: skip

    @functools.cached_property
    def _form_of_sources(self) -> tuple[int, bool]:
        """Their longest, and whether padding comes first. Looked up once: in fairseq's settings
        each look takes a twentieth of the time of translating a short sentence.
        """
        return self.cfg.max_source_positions, self.cfg.left_pad_source

    def _is_reusable(self, dataset, settings) -> bool:
        """Whether fairseq keeps the iterator for all epochs, as it does with a single data set."""
        rebuilt = settings.get("disable_iterator_cache") or settings.get("update_epoch_batch_itr")
        return not rebuilt and self.can_reuse_epoch_itr(dataset)

    def _exact_iterator(self, dataset, epoch=1, **settings) -> EpochBatchIterator:
        """fairseq's iterator, with the same batches in whichever epoch the process was started.

        fairseq forms the batches with the seed of that epoch, so that after resuming they are
        others than they would have been.
        """
        if not self._is_reusable(dataset, settings):
            return super().get_batch_iterator(dataset, epoch=epoch, **settings)
        fresh = dataset not in self.dataset_to_epoch_iter
        iterator = super().get_batch_iterator(dataset, epoch=1, **settings)
        if fresh:
            iterator.epoch = max(epoch, 1)
        return iterator

    def _curriculum_iterator(
        self, dataset, training: TrainingState, settings: dict[str, Any]
    ) -> CurriculumBatchIterator:
        self._refuse_conflicts(training)
        stock = self._exact_iterator(dataset, **settings)
        rank_batches = math.ceil(len(stock.frozen_batches) / stock.num_shards)
        self.curriculum = make_curriculum(
            self.length_options,
            self._pairs_of(dataset, settings),
            Batching(
                settings.get("max_tokens"),
                settings.get("max_sentences"),
                settings.get("required_batch_size_multiple", 1),
            ),
            settings.get("seed", 1),
            epoch_updates=math.ceil(rank_batches / training.update_freq[0]),
            unit=self._unit(),
        )
        self._announce(self.curriculum, training.last_update(rank_batches))
        return CurriculumBatchIterator(
            stock, self.curriculum, lambda: self._updates, training.update_freq
        )

    def _unit(self) -> int:
        """Subwords of a unit of the schedule."""
        unit = self.length_options.length_unit
        if unit == "subwords":
            return 1
        if unit == "sentences":
            raise UserError(f"{flag('length_unit')} is sentences: that is for documents")
        if self.segment_len is None:
            raise UserError(
                f"{flag('length_unit')} is segments: it has to be subwords with a decoder that does"
                " not work in segments"
            )
        return self.segment_len

    def _pairs_of(self, dataset, settings: dict[str, Any]) -> Pairs:
        """The pairs that fairseq would train on: not those longer than the model takes."""
        indices = np.arange(len(dataset), dtype=np.int64)
        if settings.get("max_positions") is not None:
            indices = self.filter_indices_by_size(
                indices, dataset, settings["max_positions"], settings.get("ignore_invalid_inputs")
            )
        source, target = dataset.sizes.astype(np.int64).T
        return Pairs(indices, source, target)

    def _refuse_conflicts(self, training: TrainingState) -> None:
        schedule = flag("length_schedule")
        if training.sorted_epochs > 0:
            raise UserError(f"--curriculum, which sorts batches, cannot be used with {schedule}")
        if training.grouped_shuffling:
            raise UserError(f"--grouped-shuffling cannot be used with {schedule}")

    def _announce(self, curriculum: Curriculum, last_update: float) -> None:
        schedule, unit = curriculum.schedule, self._unit()
        share = curriculum.share(schedule.at(0))
        logger.info(
            "length schedule %s (%s): %s length from %d to %d%s over %d updates, at first %.1f %%"
            " of the data",
            schedule.kind, self.length_options.length_mode, self.length_options.length_by,
            schedule.start, schedule.end, f" in segments of {unit}" if unit > 1 else "",
            schedule.updates, 100 * share,
        )  # fmt: skip
        if last_update < schedule.updates:
            logger.warning(
                "the length schedule never ends: %s is %d, but --max-update or --max-epoch ends the"
                " training at about update %d. The longest pairs are not trained on as they are.",
                flag("length_updates"), schedule.updates, last_update,
            )  # fmt: skip
        if share == 1.0:
            logger.warning(
                "the length schedule limits nothing: no pair is longer than %s, which is %d",
                flag("length_start"), schedule.start,
            )  # fmt: skip

    def build_generator(self, models, args, seq_gen_cls=None, extra_gen_cls_kwargs=None, **how):
        """fairseq's hook; its generator, or ours where `--memtx-generator` says so."""
        extra, options = dict(extra_gen_cls_kwargs or {}), self.generator_options
        if getattr(self.cfg, "bf16", False) is True:
            round_to_bfloat16(models)
        check_eight_bits(models)
        check_lenpen(getattr(args, "lenpen", 1.0))
        if seq_gen_cls is None and options.generator != "fairseq":
            seq_gen_cls = generator_class(args, extra, **how)
            extra |= own_settings(options, self.source_dictionary, self.target_dictionary)
        return super().build_generator(models, args, seq_gen_cls, extra, **how)

    def train_step(self, sample, model, criterion, optimizer, update_num, *args, **kwargs):
        """fairseq's hook; logs the length allowed and the share of the data that it allows."""
        if self.curriculum is not None:
            limit = self.curriculum.schedule.at(update_num)
            length = min(limit, self.curriculum.distribution.longest)
            share = self.curriculum.share(length)
            metrics.log_scalar("length", length, weight=0, priority=210, round=0)
            metrics.log_scalar("data_share", share, weight=0, priority=211, round=3)
            if self.length_options.length_unit == "segments":
                segments = math.ceil(length / self._unit())
                metrics.log_scalar("segments", segments, weight=0, priority=212, round=0)
        return super().train_step(sample, model, criterion, optimizer, update_num, *args, **kwargs)


def tell_of_empty_memory(model: Any) -> None:
    """Say so where an encoder has a memory for nothing, or for a training of documents later."""
    if isinstance(getattr(model, "encoder", None), MemoryEncoder):
        logger.info(
            "the memory of %s stays empty: only --task memtx_document_translation carries it from"
            " sentence to sentence", flag("encoder_memory"),
        )  # fmt: skip


def round_to_bfloat16(models: list[Any]) -> None:
    """What `--bf16` asks for and fairseq's commands do not do when they generate.

    Models in training have their precision from the trainer.
    """
    for model in models:
        if is_final(model):
            model.bfloat16()
