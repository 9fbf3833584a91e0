"""Trainings in processes of their own that are interrupted somewhere, and go on."""

import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer
from fairseq_cli import train

from fairseq_memtx import repairs
from tests.fairseq_memtx.ranks import ended, processes_of
from tests.fairseq_memtx.tiny_training import (
    assert_same_training,
    config_of,
    rank_config,
    run_rank,
)

#: All ends of a training are compared by the state that is saved last.
LAST = "checkpoint_last.pt"
SAVING = "--save-interval-updates 2 --no-epoch-checkpoints --disable-validation"
SECONDS = 180.0


COMMON = (
    " --decoder-embed-dim 8 --decoder-ffn-embed-dim 8 --decoder-attention-heads 2 --dropout 0.1"
    " --decoder-layers 1 --optimizer adam --lr 0.01 --num-workers 0 --no-progress-bar"
    " --log-format none --cpu --required-batch-size-multiple 1"
)
TRANSLATION = (
    "--encoder-layers 1 --encoder-embed-dim 8 --encoder-ffn-embed-dim 8 --clip-norm 1"
    f" --encoder-attention-heads 2 --max-tokens 100{COMMON}"
)
LANGUAGE = f"--decoder-input-dim 8 --decoder-output-dim 8 --batch-size 3{COMMON}"
SEGMENTS = "--memtx-segment-len 4 --memtx-mem-len 4"
COMPRESSED = f"{SEGMENTS} --memtx-cmem-len 3 --memtx-compression-rate 2"
COMPRESSED += " --criterion memtx_compression"
RELATIVE = "--memtx-relative-positions 9 --memtx-memory-span 8 --no-token-positional-embeddings"

#: Flags of each decoder, by task.
DECODERS = {
    "memtx_translation": {
        "transformer": "--arch transformer",
        "feedback": "--arch memtx_feedback",
        "transformer-xl": f"--arch memtx_transformer_xl {SEGMENTS}",
        "compressive": f"--arch memtx_compressive {COMPRESSED}",
    },
    # A sentence that follows another one of its document begins with the memory that was left.
    "memtx_document_translation": {
        "feedback": f"--arch memtx_feedback {RELATIVE} --memtx-lanes 4",
        "transformer-xl": f"--arch memtx_transformer_xl {SEGMENTS} --memtx-lanes 4",
        "compressive": f"--arch memtx_compressive {COMPRESSED} --memtx-lanes 4",
    },
    "memtx_language_modeling": {
        "feedback": f"--arch memtx_feedback_lm {RELATIVE} --tokens-per-sample 6",
        "transformer-xl": f"--arch memtx_transformer_xl_lm {SEGMENTS} --tokens-per-sample 6",
        "compressive": f"--arch memtx_compressive_lm {COMPRESSED} --tokens-per-sample 6",
    },
    "memtx_labelled_stream": {
        "feedback": f"--arch memtx_feedback_lm {RELATIVE} --tokens-per-sample 12",
        "transformer-xl": f"--arch memtx_transformer_xl_lm {SEGMENTS} --tokens-per-sample 12",
        "compressive": f"--arch memtx_compressive_lm {COMPRESSED} --tokens-per-sample 12",
    },
}


class Fault(Protocol):
    """Something that ends a training."""

    def arm(self, is_last: bool) -> None:
        """Arrange for it in the process of a rank, the last one or another."""

    def ends_with(self, stock: bool) -> set[int]:
        """The exit statuses that the ranks may have."""


@dataclass(frozen=True)
class Kill:
    """An interruption.

    Attributes:
        how: a signal's name (one that is answered goes to the last rank alone, in the middle of a
            step; SIGKILL to all), or "saving" (SIGKILL when half of a checkpoint is written).
        at: the step or the save, from 1.
    """

    how: str
    at: int

    def arm(self, is_last: bool) -> None:
        """See `Fault`."""
        if self.how == "saving":
            nth_call(torch, "save", self.at, die_halfway)
        elif is_last or self.how == "SIGKILL":
            number = getattr(signal, self.how)
            nth_call(Trainer, "train_step", self.at, lambda *_, **__: os.kill(os.getpid(), number))

    def ends_with(self, stock: bool) -> set[int]:
        """See `Fault`; a rank whose partner has died ends with 1."""
        number = getattr(signal, self.how, signal.SIGKILL)
        if self.how in ("saving", "SIGKILL"):
            return {-number, 1}
        return {-number, 1} if stock else {128 + number}


@dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        data: binarised.
        task: fairseq's name.
        tiny: flags of the model's sizes.
        flags: the others.
        ranks: 1 or 2.
        stock: in fairseq as it was installed.
    """

    data: Path
    task: str
    tiny: str
    flags: str
    ranks: int = 1
    stock: bool = False

    def run(self, folder: Path, fault: Fault | None = None) -> list[int | None]:
        """Train in `folder`, or go on there; the exit statuses of the ranks."""
        words = [*SAVING.split(), *self.flags.split()]
        configure = config_of if self.ranks == 1 else rank_config
        cfg = configure(self.data, folder, *words, task=self.task, tiny=self.tiny)
        with processes_of(one_rank, self.ranks, cfg, fault, self.stock) as processes:
            return ended(processes, SECONDS)

    def whole(self, folder: Path) -> Path:
        """The last checkpoint of a training that nothing interrupts."""
        assert self.run(folder) == [0] * self.ranks
        return folder / LAST

    def outcome(self, folder: Path, fault: Fault, whole: Path) -> str:
        """What is wrong about a training that is interrupted and goes on; "" for nothing."""
        statuses = self.run(folder, fault)
        if not set(statuses) <= fault.ends_with(self.stock):
            return f"{fault} left {statuses}"
        if set(statuses) == {0}:  # the fault may pass, and has: there is nothing to go on from
            return ""
        if self.run(folder) != [0] * self.ranks:
            return f"after {fault} it does not go on"
        try:
            assert_same_training(whole, folder / LAST)
        except AssertionError:
            return f"after {fault} it ends elsewhere"
        return ""


def one_rank(rank: int, cfg: Any, fault: Fault | None, stock: bool) -> None:
    """`fairseq-train` in this process, until it is interrupted."""
    if stock:
        repairs.undo()
        # Without it this torch refuses all of stock fairseq's checkpoints.
        os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    ranks = cfg.distributed_training.distributed_world_size
    if fault is not None:
        fault.arm(rank == ranks - 1)
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    run_rank(rank, cfg) if ranks > 1 else train.main(cfg)


def nth_call(owner: Any, name: str, nth: int, before: Callable[..., object]) -> None:
    """Call `before` with the arguments of the nth call of `owner.name`, before it."""
    stock, calls = getattr(owner, name), []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == nth:
            before(*args, **kwargs)
        return stock(*args, **kwargs)

    setattr(owner, name, counted)


def die_halfway(state: Any, file: Any, *_: Any, **__: Any) -> None:
    """Write half of a checkpoint."""
    content = io.BytesIO()
    torch.serialization.save(state, content)
    file.write(content.getvalue()[: len(content.getvalue()) // 2])
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
