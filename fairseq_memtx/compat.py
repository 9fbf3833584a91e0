"""Every repair of fairseq 0.12 that this project carries, each with what would let it go.

`apply` makes them all and is called when `fairseq_memtx` is imported, which every fairseq command
does (`--user-dir`) before it loads anything. Each has a test named `test_defect_...` that fails
once the libraries no longer need the repair. The repairs wrap fairseq's functions: the stock
function stays reachable as `__wrapped__`.
"""

import argparse
import collections
import contextlib
import functools
import importlib
import logging
import os
import re
import shutil
import signal
import types
import typing
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from .errors import UserError, show_user_errors_in_one_line

logger = logging.getLogger(__name__)


def apply() -> None:
    """Make every repair; doing so again changes nothing."""
    require_fairseq()
    allow_checkpoint_classes()
    keep_last_batch()
    block_repeated_ngrams()
    give_datasets_a_long()
    write_checkpoints_whole()
    explain_unusable_checkpoints()
    resume_from_newest_whole_checkpoint()
    save_when_told_to_stop()
    show_user_errors_in_one_line()


def require_fairseq() -> None:
    """Raise `ImportError` with one line that says what to install where fairseq cannot be imported.

    Not a requirement of our package: `fairseq` and `fairseq-fixed` install the same folder.
    """
    try:
        importlib.import_module("fairseq")
    except ModuleNotFoundError as error:
        if error.name != "fairseq":
            raise
        problem = "which is not installed"
    except ValueError as error:  # fairseq 0.12.2: dataclass defaults that Python 3.11 rejects
        problem = f"but the one installed does not import on this Python ({error})"
    else:
        return
    raise ImportError(
        f"fairseq_memtx needs fairseq, {problem}: pip install fairseq-fixed==0.12.3.1"
    ) from None


def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Replace `owner.name` by a function that calls `around(stock function, *arguments)`, once."""
    stock = getattr(owner, name)
    if hasattr(stock, "memtx_repair"):
        return

    @functools.wraps(stock)
    def repaired(*args: Any, **kwargs: Any) -> Any:
        return around(stock, *args, **kwargs)

    repaired.memtx_repair = around  # type: ignore[attr-defined]
    is_static = isinstance(vars(owner).get(name), staticmethod)
    setattr(owner, name, staticmethod(repaired) if is_static else repaired)


# --- Safe loading -------------------------------------------------------------------------------


def allow_checkpoint_classes() -> None:
    """Tell torch which classes a fairseq checkpoint holds, so that safe loading accepts them.

    torch >= 2.6 loads with `weights_only=True`, and fairseq stores its options as an
    `argparse.Namespace`, scores as numpy scalars, and sends `_TensorPlaceholder` between ranks
    through `torch.save`. Everything else stays refused. May go once fairseq registers its own.
    """
    import torch

    torch.serialization.add_safe_globals(
        [*_plain_classes(), *_numpy_classes(), *_omegaconf_classes(), *_fairseq_classes()]
    )


def _plain_classes() -> list[Any]:
    containers = [dict, list, tuple, frozenset, set, collections.defaultdict]
    return [argparse.Namespace, typing.Any, *containers, int, float, str, bool, bytes]


def _numpy_classes() -> list[Any]:
    """What a pickled array or scalar of numbers names, under the paths of numpy 1 and 2."""
    import numpy as np

    # Found through an instance, because the module's name differs between numpy 1 and 2.
    reconstruct = np.zeros(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    renamed = [
        (function, f"{package}.multiarray.{name}")
        for function, name in ((reconstruct, "_reconstruct"), (scalar, "scalar"))
        for package in ("numpy.core", "numpy._core")
    ]
    numbers = [type(np.dtype(code)) for code in "?bhilqBHILQefdFD"]
    return [np.ndarray, np.dtype, *renamed, *dict.fromkeys(numbers)]


def _omegaconf_classes() -> list[Any]:
    from omegaconf import DictConfig, ListConfig, base, nodes

    leaves = [
        nodes.AnyNode,
        nodes.BooleanNode,
        nodes.BytesNode,
        nodes.FloatNode,
        nodes.IntegerNode,
        nodes.StringNode,
    ]
    return [DictConfig, ListConfig, base.ContainerMetadata, base.Metadata, *leaves]


def _fairseq_classes() -> list[Any]:
    from fairseq.distributed import utils as distributed_utils

    return [distributed_utils._TensorPlaceholder]


# --- Batching -----------------------------------------------------------------------------------


def keep_last_batch() -> None:
    """Keep the sentences that fill no whole batch, which fairseq-fixed and fairseq's main drop.

    Where `--required-batch-size-multiple` (8 by default) does not divide the last batch, stock
    leaves that batch out without a word: up to 7 sentences of every test set go untranslated, and
    a set of fewer than 8 is empty. fairseq 0.12.2 kept them. May go once the others do again.
    """
    from fairseq.data import data_utils

    _wrap(data_utils, "batch_by_size", _batch_all)


def _batch_all(stock: Callable[..., Any], indices: Any, *args: Any, **kwargs: Any) -> Any:
    import numpy as np

    indices = np.fromiter(indices, dtype=np.int64)
    if len(indices) == 0:  # stock looks at the last batch without asking whether there is one
        return []
    batches = stock(indices, *args, **kwargs)
    if kwargs.get("fixed_shapes") is not None:
        return batches
    # Batches are consecutive pieces of `indices`, so that what is missing is the end.
    rest = indices[sum(len(batch) for batch in batches) :]
    return [*batches, rest] if len(rest) else batches


def give_datasets_a_long() -> None:
    """Let two of fairseq's datasets find `np.compat.long`, which numpy 2 no longer has.

    Stock fails at `--sample-break-mode eos`, at `--num-batch-buckets`, and when a language model
    is to continue a text (fairseq-interactive, fairseq-generate). May go once they say `np.int64`.
    """
    import numpy as np

    if hasattr(np, "compat"):
        return
    for name in ("token_block_dataset", "language_pair_dataset"):
        importlib.import_module(f"fairseq.data.{name}").np = _NumpyWithLong()  # type: ignore


class _NumpyWithLong:
    """numpy, and the name that it has lost."""

    compat = types.SimpleNamespace(long=int)

    def __getattr__(self, name: str) -> Any:
        import numpy as np

        return getattr(np, name)


# --- Searching ----------------------------------------------------------------------------------


def block_repeated_ngrams() -> None:
    """Let `--no-repeat-ngram-size` forbid what it says, where fairseq's CUDA extension is missing.

    Stock compares with the end of its buffer, which is padding, and so forbids nothing. May go once
    it compares with the last words.
    """
    from fairseq.ngram_repeat_block import NGramRepeatBlock

    _wrap(NGramRepeatBlock, "_no_repeat_ngram", _block_ngrams)


def _block_ngrams(
    stock: Callable[..., Any], blocker: Any, tokens: Any, lprobs: Any, *sizes: int
) -> Any:
    from .decoding.words import ban_repeated_ngrams

    step = sizes[2]
    ban_repeated_ngrams(lprobs, tokens[:, : step + 1], blocker.no_repeat_ngram_size)
    return lprobs


# --- Writing ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _written_whole(path: str) -> Iterator[BinaryIO]:
    """Open a file that appears under `path` only when the block ends without an error."""
    # fairseq's own temporary name: what a killed run leaves is overwritten, and never loaded.
    temporary = path + ".tmp"
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        # torch's writer hides the error of the file system behind one of its own.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, OSError):
            raise UserError(
                f"`{path}` could not be written ({cause.strerror}); what was there before is "
                "unchanged. Mend that and start the same command again to go on from the last save."
            ) from error
        raise


def write_checkpoints_whole() -> None:
    """Let every checkpoint appear by rename, copies such as `checkpoint_last.pt` too.

    fairseq copies over the old file, so a death in the middle leaves half a file under the name
    that every later start loads. When a save fails it tries again behind what it has written, and
    leaves its temporary file. May go once fairseq copies by rename.
    """
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    _wrap(PathManager, "copy", _copy_whole)
    _wrap(checkpoint_utils, "torch_persistent_save", _save_whole)


def _copy_whole(
    stock: Callable[..., Any], src_path: str, dst_path: str, overwrite: bool = False
) -> Any:
    from fairseq.file_io import PathManager

    if not (PathManager.supports_rename(src_path) and PathManager.supports_rename(dst_path)):
        return stock(src_path, dst_path, overwrite=overwrite)
    with open(src_path, "rb") as source, _written_whole(dst_path) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return True


def _save_whole(
    stock: Callable[..., Any], obj: Any, filename: str, async_write: bool = False
) -> None:
    import torch
    from fairseq.file_io import PathManager

    if async_write or not PathManager.supports_rename(filename):
        stock(obj, filename, async_write=async_write)
        return
    with _written_whole(filename) as stream:
        torch.save(obj, stream)


# --- Reading ------------------------------------------------------------------------------------


def is_cut_short(path: str | os.PathLike[str]) -> bool:
    """Whether a checkpoint lost its end: it has no zip directory, or nothing that torch can read.

    Finds what an interrupted write or copy leaves, at no cost; not a flipped bit in the middle.
    """
    with open(path, "rb") as stream:
        start = stream.read(2)
    if start == b"PK":
        return not zipfile.is_zipfile(path)
    return start != b"\x80\x02"  # the pickle that torch < 1.6 wrote


def explain_unusable_checkpoints() -> None:
    """Turn what fairseq says of a missing, truncated, unsafe or unfitting checkpoint into one line.

    Stock: a traceback that ends in miniz's internals, `[Errno 22]` or the advice to switch safe
    loading off. May go once fairseq's messages name the file and what to do.
    """
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    _wrap(checkpoint_utils, "load_checkpoint_to_cpu", _load_explained)
    _wrap(checkpoint_utils, "load_model_ensemble_and_task", _build_explained)
    _wrap(Trainer, "load_checkpoint", _restore_explained)


def _load_explained(stock: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return stock(path, *args, **kwargs)
    except Exception as error:  # reading text as a pickle raises nearly anything
        if not os.path.isfile(path):
            raise
        if is_cut_short(path):
            raise UserError(
                f"`{path}` must be a whole checkpoint, but is cut short or no checkpoint at all "
                f"({os.path.getsize(path):,} bytes): copy it again or use another one."
            ) from error
        if "Weights only load failed" in str(error):
            raise UserError(_explain_refusal(path, error)) from error
        raise


def _explain_refusal(path: str, error: BaseException) -> str:
    named = re.search(r"GLOBAL (\S+)|got <class '(\S+)'>", str(error))
    what = f"`{named[1] or named[2]}`" if named else "an object of an unknown kind"
    return (
        f"`{path}` was not loaded: it holds {what}, which is not on the list of what is safe to "
        "load. No checkpoint of fairseq needs it: get the file from a source you trust."
    )


def _build_explained(
    stock: Callable[..., Any], filenames: list[str], *args: Any, **kwargs: Any
) -> Any:
    try:
        return stock(filenames, *args, **kwargs)
    except OSError as error:
        if "Model file not found" not in str(error):
            raise
        missing = str(error).rpartition(": ")[2]
        raise UserError(f"`{missing}` must be a checkpoint, but there is no such file.") from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise UserError(_explain_mismatch(", ".join(filenames), error)) from error


def _restore_explained(
    stock: Callable[..., Any], trainer: Any, filename: str, *args: Any, **kwargs: Any
) -> Any:
    try:
        return stock(trainer, filename, *args, **kwargs)
    except Exception as error:
        if not str(error).startswith("Cannot load model parameters"):
            raise
        raise UserError(_explain_mismatch(filename, error.__context__)) from error


def _explain_mismatch(path: str, error: BaseException | None) -> str:
    problems = [line.strip() for line in str(error).split("\n")[1:] if line.strip()]
    first = problems[0].rstrip(".") if problems else str(error)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return (
        f"`{path}` does not fit the model that was asked for: {first}{more}. Dictionaries, "
        "--arch and sizes must be those it was trained with; use another --save-dir to start anew."
    )


# --- Resuming -----------------------------------------------------------------------------------

_CHECKPOINT_NAME = re.compile(r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)\.pt")


def resume_from_newest_whole_checkpoint() -> None:
    """On start, replace a `checkpoint_last.pt` that was cut short by the newest whole checkpoint.

    Stock fairseq, or a full disk, can leave half a file there, and then no start works until
    somebody removes it by hand. May go once fairseq looks for a whole checkpoint itself.
    """
    from fairseq import checkpoint_utils

    _wrap(checkpoint_utils, "load_checkpoint", _load_newest_whole)


def _load_newest_whole(stock: Callable[..., Any], cfg: Any, trainer: Any, **kwargs: Any) -> Any:
    import torch

    # Sharded states have a suffix; shards from different updates must not be mixed.
    if cfg.restore_file == "checkpoint_last.pt" and not trainer.checkpoint_suffix:
        if trainer.data_parallel_rank == 0:
            replace_cut_short_last(Path(cfg.save_dir))
        if trainer.data_parallel_world_size > 1:
            torch.distributed.barrier(trainer.data_parallel_process_group)
    return stock(cfg, trainer, **kwargs)


def replace_cut_short_last(save_dir: Path) -> None:
    """Put the newest whole checkpoint in the place of a `checkpoint_last.pt` that was cut short.

    The cut one is kept as `checkpoint_last.pt.damaged`. Raises `UserError` where the
    folder holds no whole checkpoint of this training.
    """
    from fairseq.file_io import PathManager

    last = save_dir / "checkpoint_last.pt"
    if not last.is_file() or not is_cut_short(last):
        return
    spares = [path for path in save_dir.iterdir() if _CHECKPOINT_NAME.fullmatch(path.name)]
    whole = [path for path in spares if not is_cut_short(path)]
    if not whole:
        raise UserError(
            f"`{last}` must be a whole checkpoint, but is cut short, and there is no other to go "
            "on from: remove it to start training anew."
        )
    updates, spare = max((_num_updates(path), path) for path in whole)
    damaged = last.with_name(last.name + ".damaged")
    PathManager.copy(str(last), str(damaged), overwrite=True)
    PathManager.copy(str(spare), str(last), overwrite=True)
    logger.warning(
        "%s is cut short (kept as %s): going on from %s, update %d", last, damaged, spare, updates
    )


def _num_updates(path: Path) -> int:
    import torch

    state = torch.load(path, map_location="cpu", mmap=True)
    return state["optimizer_history"][-1]["num_updates"]


# --- Stopping -----------------------------------------------------------------------------------


class StopRequest:
    """A SIGTERM or SIGINT that is answered after the step under way; a second one acts at once.

    When no training is under way, the first one acts at once too.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._previous: dict[int, Any] = {}
        self._pid = 0

    def listen(self) -> None:
        """Take over both signals. Only a process's main thread can: elsewhere nothing happens."""
        if self._previous and self._pid == os.getpid():
            return
        with contextlib.suppress(ValueError):
            self._pid = os.getpid()
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._previous[signum] = signal.signal(signum, self._note)

    def ignore(self) -> None:
        """Give both signals back to whoever had them."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a data loader's worker: its parent ends it
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        self.ignore()
        if not _in_training(frame):  # an earlier training of this process left us in charge
            signal.raise_signal(signum)
            return
        self.signum = signum
        # Not by logging: the signal may have come in the middle of a write to the same stream.
        name = signal.Signals(signum).name
        notice = f"{name}: saving and stopping after this step; once more stops without saving\n"
        os.write(2, notice.encode())

    def agreed(self, trainer: Any) -> int:
        """The signal's number or 0, the same on every rank, so that all stop at one update."""
        if trainer.data_parallel_world_size == 1:
            return self.signum
        import torch
        from fairseq.distributed import utils as distributed_utils

        number = torch.tensor([self.signum], device=trainer.device)
        group = trainer.data_parallel_process_group
        return int(distributed_utils.all_reduce(number, group, op="max").item())


def _in_training(frame: FrameType | None) -> bool:
    """Whether fairseq's training is among the callers of the code that a signal interrupted."""
    training = os.path.join("fairseq_cli", "train.py")
    while frame is not None:
        if frame.f_code.co_name == "main" and frame.f_code.co_filename.endswith(training):
            return True
        frame = frame.f_back
    return False


_stop_request = StopRequest()


def save_when_told_to_stop() -> None:
    """Let SIGTERM and SIGINT save `checkpoint_last.pt` and end training with code 128 + signal.

    Stock fairseq dies at once and loses the work since its last save. When the step was the last
    of an epoch, or one of validation, that epoch's validation is left out. May go once fairseq
    saves on signals itself.
    """
    from fairseq.trainer import Trainer

    _wrap(Trainer, "get_train_iterator", _remember_iterator)
    _wrap(Trainer, "train_step", _step_then_stop)
    _wrap(Trainer, "valid_step", _step_then_stop)


def _remember_iterator(stock: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    # Before the data loader's workers start, which would die of a Ctrl-C that we answer later.
    _stop_request.listen()
    trainer.memtx_iterator = stock(trainer, *args, **kwargs)
    return trainer.memtx_iterator


def _step_then_stop(stock: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    logged = stock(trainer, *args, **kwargs)
    signum = _stop_request.agreed(trainer)
    if signum:
        _save_and_exit(trainer, signum)
    return logged


def _save_and_exit(trainer: Any, signum: int) -> None:
    from fairseq import checkpoint_utils

    _stop_request.signum = 0
    cfg = trainer.cfg.checkpoint
    checkpoint_utils.save_checkpoint(cfg, trainer, trainer.memtx_iterator, None)
    if cfg.no_save or cfg.no_last_checkpoints:
        outcome = "nothing was saved, as --no-save or --no-last-checkpoints asks"
    else:
        outcome = "the same command goes on from there"
    logger.warning("stopped at update %d: %s", trainer.get_num_updates(), outcome)
    raise SystemExit(128 + signum)
