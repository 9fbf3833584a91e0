"""A random parallel set of documents, the models that carry a memory, and trainings of them."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import tasks

from tests.fairseq_memtx import tiny_training as training
from tests.fairseq_memtx.tiny import scatter_weights

#: Sentences of each document.
TRAIN, VALID = [7, 1, 4, 9, 2, 3, 8, 5, 6, 2, 4], [4, 1, 6, 3, 5]
SEGMENTS = "--memtx-segment-len 4 --memtx-mem-len 24"
COMPRESSION = "--memtx-cmem-len 6 --memtx-compression-rate 2"
MODELS = {
    "feedback": "--arch memtx_feedback --memtx-relative-positions 9 --memtx-memory-span 30"
    " --no-token-positional-embeddings",
    "transformer-xl": f"--arch memtx_transformer_xl {SEGMENTS}",
    "compressive": f"--arch memtx_compressive {SEGMENTS} --memtx-mem-len 8 {COMPRESSION}"
    " --criterion memtx_compression",
    "most-used": f"--arch memtx_compressive {SEGMENTS} --memtx-mem-len 8 {COMPRESSION}"
    " --memtx-compression most-used",
}
#: Models whose encoder remembers too, beside each kind of decoder's memory.
MODELS |= {
    "encoder": f"{MODELS['transformer-xl']} --memtx-encoder-memory 20",
    "feedback, encoder": f"{MODELS['feedback']} --memtx-encoder-memory 20",
}
every_model = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name == "most-used" or "," in name))
        for name in MODELS
    ],
)
TINY = training.TINY.replace("--arch memtx_feedback", "").replace("--max-tokens 120", "")
KIND = {"task": "memtx_document_translation", "tiny": TINY + " --batch-size 3 --memtx-lanes 5"}
config_of = functools.partial(training.config_of, **KIND)
run_training = functools.partial(training.run_training, **KIND)
run_two_ranks = functools.partial(training.run_two_ranks, **KIND)


def make_documents(folder: Path) -> Path:
    """Training and validation documents of random words."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, sizes) in enumerate((("train", TRAIN), ("valid", VALID))):
        lengths = training.random_lengths(sum(sizes), seed, longest=9)
        training.write_pairs(folder, split, lengths, seed)
        training.write_docids(folder, split, sizes)
    return folder


def task_and_model(data: Path, name: str, *flags: str) -> tuple[Any, Any]:
    """The task with its validation set, and a model in float64 with scattered weights."""
    cfg = config_of(data, data / "unused", *MODELS[name].split(), "--dropout", "0", *flags)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(0)
    model = task.build_model(cfg.model).double().eval()
    scatter_weights(model)
    task.load_dataset("valid")
    return task, model


def batches_of(task: Any, split: str = "valid", **settings: Any) -> list[dict[str, Any]]:
    """All batches of a split in order."""
    iterator = task.get_batch_iterator(task.dataset(split), **{"max_sentences": 3, **settings})
    return list(iterator.next_epoch_itr(shuffle=False))
