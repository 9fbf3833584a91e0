"""Every batch logs the same keys, and values of the same types, on every rank.

fairseq sums what ranks have logged by position in a buffer: one for numbers, one for tensors. A
rank with another key, or with a number in the place of a tensor, would add up the wrong values or
wait for ever.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq import tasks
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks import TASK_REGISTRY
from fairseq.trainer import Trainer

from data_prep.cli import main as prepare
from fairseq_memtx.criterions.in_pieces import IN_PIECES
from tests.choosing import some
from tests.fairseq_memtx.tiny_training import config_of, make_data, make_text, write_pairs

SIZES = (
    "--decoder-layers 1 --decoder-embed-dim 8 --decoder-ffn-embed-dim 8 --decoder-attention-heads 2"
    " --dropout 0 --optimizer adam --lr 0.01 --cpu --num-workers 0 --no-progress-bar"
)
TRANSLATION = f"{SIZES} --encoder-layers 1 --encoder-embed-dim 8 --encoder-ffn-embed-dim 8"
TRANSLATION += " --encoder-attention-heads 2 --max-tokens 100"
LANGUAGE = f"{SIZES} --decoder-input-dim 8 --decoder-output-dim 8 --batch-size 3"
LANGUAGE += " --tokens-per-sample 6"
SEGMENTS = "--memtx-segment-len 3 --memtx-mem-len 6 --memtx-cmem-len 4 --memtx-compression-rate 3"
BPTT = f"{SEGMENTS} --memtx-compression-loss bptt"

TASKS = {
    "memtx_translation": (TRANSLATION, "memtx_compressive", "memtx_feedback"),
    "memtx_language_modeling": (LANGUAGE, "memtx_compressive_lm", "memtx_transformer_xl_lm"),
    "memtx_labelled_stream": (LANGUAGE, "memtx_compressive_lm", "memtx_transformer_xl_lm"),
    "memtx_document_translation": (TRANSLATION, "memtx_compressive", "memtx_transformer_xl"),
}
SMOOTHED = "--label-smoothing 0.1 --report-accuracy"
#: Criteria with the flags that let them log the most, and of the architecture where it has any.
CRITERIA = {
    "memtx_compression": (SMOOTHED, SEGMENTS),
    "label_smoothed_cross_entropy": (SMOOTHED, BPTT),
    "cross_entropy": ("", BPTT),
}
WAYS = {
    "pieces": "",
    "whole": "--memtx-loss whole",
    "by sentence": "--sentence-avg",
}


def ours(registry: dict[str, Any]) -> set[str]:
    return {n for n, kind in registry.items() if kind.__module__.startswith("fairseq_memtx.")}


def test_all_tasks_and_criteria_are_looked_at() -> None:
    """A new one must be added here."""
    replaced = {n for n, kind in CRITERION_REGISTRY.items() if kind in IN_PIECES}
    assert set(CRITERIA) == ours(CRITERION_REGISTRY) | replaced
    assert set(TASKS) == ours(TASK_REGISTRY)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By task: sentences too short to be compressed, and long ones; a text in order; labels."""
    folder = tmp_path_factory.mktemp("logged")
    pairs = make_data(folder / "pairs")
    write_pairs(pairs, "train", [(2, 1)] * 40 + [(9, 20)] * 40, seed=1)
    small = ["--statements", "10", "--programs", "12", "3", "3"]
    assert prepare(["programs", "--out", str(folder / "programs"), *small]) == 0
    return {
        "memtx_translation": pairs,
        "memtx_document_translation": pairs,
        "memtx_language_modeling": make_text(folder / "text"),
        "memtx_labelled_stream": folder / "programs" / "bin",
    }


def logged(cfg: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each batch of an epoch logs: trained on, as a dummy, and validated on."""
    task = tasks.setup_task(cfg.task)
    task.load_dataset("train")
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    limits = {"max_tokens": cfg.dataset.max_tokens, "max_sentences": cfg.dataset.batch_size}
    batches = task.get_batch_iterator(task.dataset("train"), **limits).next_epoch_itr(shuffle=False)
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    for sample in itertools.islice(batches, 9):
        for dummy in (False, True):
            found = task.train_step(sample, model, criterion, optimizer, 0, ignore_grad=dummy)
            yield "dummy" if dummy else "trained", found[2]
        yield "validated", task.valid_step(sample, model, criterion)[2]


def exchanged(log: dict[str, Any], ignore: bool, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the buffers that fairseq would exchange for it, in order."""
    sizes: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(
            distributed_utils, "all_reduce", lambda buffer, **_: sizes.append(buffer.numel())
        )
        trainer = SimpleNamespace(device=torch.device("cpu"), data_parallel_process_group=None)
        Trainer._fast_stat_sync_sum(trainer, [log], 1.0, 0, ignore=ignore)
    return sizes


#: Task, criterion, way, and which of the task's architectures.
CASES = [
    *((task, criterion, "pieces", 0) for task in TASKS for criterion in CRITERIA),
    ("memtx_translation", "memtx_compression", "whole", 0),
    ("memtx_translation", "memtx_compression", "by sentence", 0),
    ("memtx_translation", "label_smoothed_cross_entropy", "pieces", 1),
    ("memtx_language_modeling", "cross_entropy", "whole", 1),
    ("memtx_labelled_stream", "label_smoothed_cross_entropy", "pieces", 1),
]


@pytest.mark.parametrize(("task", "criterion", "way", "place"), some(CASES, 4))
def test_every_batch_logs_the_same_keys_and_types(
    task: str, criterion: str, way: str, place: int, data: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tiny, arch = TASKS[task][0], TASKS[task][1 + place]
    flags, segments = CRITERIA[criterion]
    words = f"--arch {arch} --criterion {criterion} {flags} {WAYS[way]}"
    words += f" {segments}" if place == 0 else ""
    cfg = config_of(data[task], tmp_path, *words.split(), task=task, tiny=tiny)
    found = list(logged(cfg))
    assert CRITERION_REGISTRY[criterion].logging_outputs_can_be_summed()
    kinds = {tuple((key, torch.is_tensor(value)) for key, value in log.items()) for _, log in found}
    assert len(kinds) == 1, kinds
    sizes = {tuple(exchanged(log, kind == "dummy", monkeypatch)) for kind, log in found}
    assert len(sizes) == 1, sizes
    if criterion == "memtx_compression" and place == 0:
        losses = [float(log["compression_loss"]) for _, log in found]
        assert min(losses) == 0 < max(losses), "batches of one kind show nothing"
