"""The repairs of fairseq: that each works, and that the defect it repairs is still there."""

import argparse
import collections
import io
import os
import pickle
import resource
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils, options, utils
from fairseq.data import data_utils, token_block_dataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed.utils import _TensorPlaceholder
from fairseq.file_io import PathManager
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.trainer import Trainer
from fairseq_cli import preprocess, train
from omegaconf import OmegaConf

from fairseq_memtx import compat
from fairseq_memtx.errors import UserError

compat.apply()


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let the system refuse to write any file beyond `after` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def without_our_classes() -> Iterator[None]:
    """torch's list of safe classes as it is without our package."""
    ours = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.add_safe_globals(ours)


@pytest.fixture(scope="module")
def binarised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translation set of random words: 96 pairs to train on, 8 to validate."""
    folder = tmp_path_factory.mktemp("binarised")
    random = np.random.RandomState(3)
    for split, lines in (("train", 96), ("valid", 8)):
        for language in ("en", "de"):
            words = [" ".join(f"{language}{i}" for i in random.randint(20, size=6))] * lines
            (folder / f"{split}.{language}").write_text("\n".join(words) + "\n")
    prefixes = ["--trainpref", str(folder / "train"), "--validpref", str(folder / "valid")]
    parser = options.get_preprocessing_parser()
    languages = ["-s", "en", "-t", "de", "--destdir", str(folder / "bin")]
    preprocess.main(parser.parse_args([*languages, *prefixes]))
    return folder / "bin"


@pytest.fixture
def fairseq_train(binarised: Path, tmp_path: Path) -> Callable[..., None]:
    """`fairseq-train` in this process, 12 updates an epoch, saving to `tmp_path`."""

    def run(*flags: str, data: Path = binarised) -> None:
        vars(checkpoint_utils.save_checkpoint).pop("best", None)
        parser = options.get_training_parser()
        fixed = "--arch transformer_tiny --optimizer adam --lr 1e-3 --batch-size 8 --cpu"
        fixed += " --num-workers 0 --no-progress-bar --max-epoch 2 --no-epoch-checkpoints"
        arguments = [str(data), *fixed.split(), "--save-dir", str(tmp_path), *flags]
        train.main(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, arguments)))

    return run


def updates_in(path: Path) -> int:
    return torch.load(path)["optimizer_history"][-1]["num_updates"]


def cut(path: Path, share: float = 0.5) -> None:
    os.truncate(path, int(path.stat().st_size * share))


# --- apply --------------------------------------------------------------------------------------


def test_applying_twice_wraps_once() -> None:
    wrapped = [
        (PathManager, "copy"),
        (data_utils, "batch_by_size"),
        (checkpoint_utils, "torch_persistent_save"),
        (checkpoint_utils, "load_checkpoint"),
        (checkpoint_utils, "load_checkpoint_to_cpu"),
        (checkpoint_utils, "load_model_ensemble_and_task"),
        (Trainer, "load_checkpoint"),
        (Trainer, "get_train_iterator"),
        (Trainer, "train_step"),
        (Trainer, "valid_step"),
    ]
    before = [getattr(owner, name) for owner, name in wrapped]
    compat.apply()
    assert [getattr(owner, name) for owner, name in wrapped] == before
    assert not any(hasattr(function.__wrapped__, "memtx_repair") for function in before)


@pytest.mark.parametrize(
    "failure, says",
    [
        (ModuleNotFoundError("No module named 'fairseq'", name="fairseq"), "is not installed"),
        (ValueError("mutable default"), r"does not import on this Python \(mutable default\)"),
    ],
)
def test_missing_fairseq_says_what_to_install(
    failure: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise failure

    monkeypatch.setattr(compat.importlib, "import_module", fail)
    with pytest.raises(ImportError, match=f"{says}: pip install fairseq-fixed"):
        compat.require_fairseq()


def test_a_library_that_fairseq_misses_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'bitarray'", name="bitarray")

    monkeypatch.setattr(compat.importlib, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="bitarray"):
        compat.require_fairseq()


# --- Safe loading -------------------------------------------------------------------------------

STORED = {
    "options": argparse.Namespace(arch="transformer", lr=[0.1]),
    "score": np.float64(28.4),
    "count": np.int64(3),
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "counts": collections.defaultdict(int),
    "config": OmegaConf.create({"task": {"data": "x", "n": 3, "on": True}, "lr": [0.5, None]}),
    "placeholder": _TensorPlaceholder(index=2),
    "types": [{1}, frozenset({2}), (3, 4.0), b"5", None],
}


@pytest.mark.parametrize("name", STORED)
def test_what_fairseq_stores_is_loaded(name: str, tmp_path: Path) -> None:
    torch.save(STORED[name], tmp_path / "x.pt")
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)
    assert type(loaded) is type(STORED[name])
    assert np.array_equal(loaded, STORED[name]) if name == "array" else loaded == STORED[name]


@pytest.mark.parametrize("package", [b"numpy.core", b"numpy._core"])
@pytest.mark.parametrize("name", ["score", "array"])
def test_scores_of_numpy_1_and_2_are_loaded(name: str, package: bytes, tmp_path: Path) -> None:
    torch.save(STORED[name], tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as source,
        zipfile.ZipFile(tmp_path / "renamed.pt", "w") as target,
    ):
        for entry in source.namelist():
            content = source.read(entry)
            for old in (b"numpy._core", b"numpy.core"):
                content = content.replace(old + b".multiarray", package + b".multiarray")
            target.writestr(entry, content)
    assert np.array_equal(torch.load(tmp_path / "renamed.pt"), STORED[name])


@pytest.mark.usefixtures("without_our_classes")
@pytest.mark.parametrize("name", ["options", "score", "array", "config", "placeholder"])
def test_defect_torch_refuses_what_fairseq_stores(name: str) -> None:
    stream = io.BytesIO()
    torch.save(STORED[name], stream)
    stream.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch.load(stream)


class Crafted:
    """An object whose unpickling calls `function(*arguments)`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def crafted_checkpoints(victim: Path) -> list[Any]:
    """Checkpoints that make the folder `victim` when they are loaded without care."""
    make = Crafted(os.mkdir, str(victim))
    return [
        make,
        Crafted(os.system, f"mkdir '{victim}'"),
        Crafted(exec, f"import os; os.mkdir({str(victim)!r})"),
        {"args": argparse.Namespace(hidden=make), "model": {}},
        {"extra_state": {"metrics": [("x", make)]}},
        {"extra_state": np.array([make], dtype=object)},
    ]


@pytest.mark.parametrize("which", range(6))
def test_a_crafted_checkpoint_is_refused_in_one_line(which: int, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "crafted.pt"
    torch.save(crafted_checkpoints(victim)[which], path)
    with pytest.raises(UserError, match=r"crafted.pt` was not loaded: it holds `\S+`") as caught:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert "\n" not in str(caught.value)
    assert not victim.exists()


@pytest.mark.parametrize("which", range(6))
def test_the_crafted_checkpoints_would_do_harm(which: int, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "crafted.pt"
    torch.save(crafted_checkpoints(victim)[which], path)
    torch.load(path, weights_only=False)
    assert victim.is_dir()


# --- Batching -----------------------------------------------------------------------------------


def lengths_of(sentences: int) -> np.ndarray:
    return np.random.RandomState(sentences).randint(1, 40, size=sentences)


@pytest.mark.parametrize("sentences", [0, 1, 7, 8, 9, 100, 131])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("max_tokens", [40, 400])
@pytest.mark.parametrize("vectorised", [True, False])
def test_every_sentence_is_in_one_batch(
    sentences: int, multiple: int, max_tokens: int, vectorised: bool
) -> None:
    lengths = lengths_of(sentences)
    batches = data_utils.batch_by_size(
        np.arange(sentences),
        lengths.__getitem__,
        num_tokens_vec=lengths if vectorised else None,
        max_tokens=max_tokens,
        required_batch_size_multiple=multiple,
    )
    assert [index for batch in batches for index in batch] == list(range(sentences))
    assert all(len(batch) * lengths[batch].max() <= max_tokens for batch in batches)
    assert all(len(b) % multiple == 0 or len(b) < multiple for b in batches[:-1])


def test_the_batches_that_fairseq_keeps_are_unchanged() -> None:
    lengths = lengths_of(131)
    arguments = (np.arange(131), lengths.__getitem__, lengths, 400, None, 8)
    kept = data_utils.batch_by_size.__wrapped__(*arguments)
    ours = data_utils.batch_by_size(*arguments)
    assert [list(batch) for batch in ours[:-1]] == [list(batch) for batch in kept]


def test_an_iterable_of_indices_is_enough() -> None:
    batches = data_utils.batch_by_size(iter(range(9)), lambda index: 1, max_sentences=4)
    assert [list(batch) for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


def test_defect_fairseq_drops_the_last_batch() -> None:
    stock = data_utils.batch_by_size.__wrapped__
    batches = stock(np.arange(14), lambda index: 5, required_batch_size_multiple=8)
    assert sum(len(batch) for batch in batches) == 8


# --- Searching ----------------------------------------------------------------------------------


def blocked(size: int, words: list[int], kind: str = "") -> list[int]:
    """The words of 0 .. 9 that may not follow, by fairseq's function for a Python host."""
    tokens = torch.tensor([[2, *words, 1, 1, 1]])  # the buffer goes on with padding
    scores = torch.zeros(1, 10)
    blocker = NGramRepeatBlock(size, use_extension=False)
    function = NGramRepeatBlock._no_repeat_ngram
    function = getattr(function, kind) if kind else function
    found = function(blocker, tokens, scores, 1, 1, len(words))
    return found[0].eq(-torch.inf).nonzero().flatten().tolist()


def test_repeated_ngrams_are_blocked() -> None:
    assert blocked(2, [5, 6, 5, 7, 5]) == [6, 7]
    assert blocked(3, [5, 6, 7, 5, 6]) == [7]
    assert blocked(3, [5, 6, 7, 5, 7]) == []
    assert blocked(3, [5]) == []
    assert blocked(1, [5, 6, 5]) == [5, 6]


def cut_at_sentences() -> list[list[int]]:
    """`--sample-break-mode eos` on two sentences."""
    sentences = [torch.tensor([5, 6, 2]), torch.tensor([7, 2])]
    blocks = token_block_dataset.TokenBlockDataset(
        sentences, [3, 2], block_size=None, pad=1, eos=2, break_mode="eos"
    )
    return [blocks[i].tolist() for i in range(len(blocks))]


def test_blocks_of_text_may_end_with_sentences() -> None:
    assert cut_at_sentences() == [[5, 6, 2], [7, 2]]


def test_defect_fairseq_asks_numpy_for_a_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails once fairseq, or numpy, needs no repair there."""
    monkeypatch.setattr(token_block_dataset, "np", np)
    with pytest.raises(AttributeError, match="compat"):
        cut_at_sentences()


def test_defect_fairseq_blocks_no_ngram() -> None:
    assert blocked(2, [5, 6, 5, 7, 5], "__wrapped__") == []


# --- Writing ------------------------------------------------------------------------------------


def test_an_interrupted_copy_leaves_the_old_file(tmp_path: Path) -> None:
    source, last = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    source.write_bytes(b"n" * 5000)
    last.write_bytes(b"old")
    with full_disk(after=1000), pytest.raises(UserError, match=r"checkpoint_last.pt` could not"):
        PathManager.copy(str(source), str(last), overwrite=True)
    assert last.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, last.name]


def test_a_copy_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3 << 20))
    assert PathManager.copy(str(tmp_path / "a"), str(tmp_path / "b"), overwrite=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_defect_fairseq_copies_over_the_old_file(tmp_path: Path) -> None:
    source, last = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    source.write_bytes(b"n" * 5000)
    last.write_bytes(b"old")
    with full_disk(after=1000), pytest.raises(OSError):
        PathManager.copy.__wrapped__(str(source), str(last), overwrite=True)
    assert last.read_bytes() != b"old"


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_last.pt"
    checkpoint_utils.torch_persistent_save({"a": torch.ones(2)}, str(path))
    with full_disk(after=1000), pytest.raises(UserError, match=r"last.pt` could not be written"):
        checkpoint_utils.torch_persistent_save({"a": torch.zeros(5000)}, str(path))
    assert torch.load(path)["a"].tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == [path]


def test_defect_fairseq_leaves_half_a_file_when_a_save_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_utils.time, "sleep", lambda seconds: None)
    path = tmp_path / "checkpoint_last.pt"
    with full_disk(after=1000), pytest.raises((RuntimeError, OSError)):
        stock = checkpoint_utils.torch_persistent_save.__wrapped__
        stock({"a": torch.zeros(5000)}, str(path))
    assert [left.name for left in tmp_path.iterdir()] == ["checkpoint_last.pt.tmp"]


# --- Reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
def test_a_cut_short_checkpoint_is_named_in_one_line(share: float, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_best.pt"
    torch.save({"args": argparse.Namespace(), "model": torch.zeros(9000)}, path)
    assert not compat.is_cut_short(path)
    cut(path, share)
    assert compat.is_cut_short(path)
    with pytest.raises(
        UserError, match=r"checkpoint_best.pt` must be a whole checkpoint"
    ) as caught:
        checkpoint_utils.load_model_ensemble_and_task([str(path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"Ein Satz.\n", b"text\n", b"\x00\x01\x02", b"[1, 2]"])
def test_a_file_that_is_no_checkpoint_is_named_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"text.pt` must be a whole checkpoint"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_a_checkpoint_of_old_torch_is_not_taken_for_cut_short(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert not compat.is_cut_short(tmp_path / "old.pt")


def test_defect_fairseq_does_not_name_a_cut_short_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_best.pt"
    torch.save({"model": torch.zeros(9000)}, path)
    cut(path)
    with pytest.raises((RuntimeError, OSError)) as caught:
        checkpoint_utils.load_checkpoint_to_cpu.__wrapped__(str(path))
    assert "checkpoint_best.pt" not in str(caught.value)


def test_a_missing_checkpoint_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.pt` must be a checkpoint, but there is no such"):
        checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "none.pt")])


def test_a_checkpoint_of_another_size_is_explained(
    fairseq_train: Callable[..., None], tmp_path: Path
) -> None:
    fairseq_train("--max-update", "1", "--disable-validation")
    with pytest.raises(UserError, match=r"_last.pt` does not fit.*embed_tokens.weight.*more\)"):
        fairseq_train("--max-update", "2", "--encoder-embed-dim", "32")
    path = str(tmp_path / "checkpoint_last.pt")
    with pytest.raises(UserError, match=r"_last.pt` does not fit.*encoder\.layers\.\d"):
        checkpoint_utils.load_model_ensemble([path], arg_overrides={"encoder_layers": 3})


# --- Resuming -----------------------------------------------------------------------------------


def test_training_goes_on_from_the_newest_whole_checkpoint(
    fairseq_train: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fairseq_train("--max-update", "5", "--save-interval-updates", "2", "--disable-validation")
    last = tmp_path / "checkpoint_last.pt"
    # Written last but not the newest state; and a newer one that is cut short as well.
    os.utime(tmp_path / "checkpoint_1_2.pt", (time.time() + 99, time.time() + 99))
    (tmp_path / "checkpoint_1_6.pt").write_bytes(b"PK")
    cut(last)
    fairseq_train("--max-update", "7", "--disable-validation")
    assert "checkpoint_1_4.pt, update 4" in caplog.text
    assert updates_in(last) == 7
    assert compat.is_cut_short(tmp_path / "checkpoint_last.pt.damaged")


def test_without_a_whole_checkpoint_training_says_so(
    fairseq_train: Callable[..., None], tmp_path: Path
) -> None:
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(UserError, match=r"remove it to start training anew"):
        fairseq_train("--max-update", "1", "--disable-validation")
    assert last.read_bytes() == b"PK\x03\x04 half a file"


def test_defect_fairseq_stops_at_a_cut_short_last_checkpoint(
    fairseq_train: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fairseq_train("--max-update", "3", "--save-interval-updates", "2", "--disable-validation")
    cut(tmp_path / "checkpoint_last.pt")
    monkeypatch.setattr(
        checkpoint_utils, "load_checkpoint", checkpoint_utils.load_checkpoint.__wrapped__
    )
    with pytest.raises(UserError, match="cut short"):
        fairseq_train("--max-update", "5", "--disable-validation")


# --- Stopping -----------------------------------------------------------------------------------


@pytest.fixture
def signal_during(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Send this process a signal in the middle of the n-th call of a method of the trainer."""

    def arrange(method: str, nth: int, signum: int) -> None:
        around, calls = getattr(Trainer, method), []

        def counted(trainer: Trainer, *args: Any, **kwargs: Any) -> Any:
            calls.append(None)
            if len(calls) == nth:
                os.kill(os.getpid(), signum)
            return around(trainer, *args, **kwargs)

        monkeypatch.setattr(Trainer, method, counted)

    yield arrange
    compat._stop_request.ignore()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_rest_is_as_if_uninterrupted(
    signum: int,
    fairseq_train: Callable[..., None],
    signal_during: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last, steps = tmp_path / "checkpoint_last.pt", ["--max-update", "8", "--disable-validation"]
    fairseq_train(*steps)
    uninterrupted = torch.load(last)
    last.unlink()

    signal_during("train_step", 3, signum)
    with pytest.raises(SystemExit) as stopped:
        fairseq_train(*steps)
    assert stopped.value.code == 128 + signum
    assert updates_in(last) == 3

    fairseq_train(*steps)
    resumed = torch.load(last)
    assert resumed["optimizer_history"][-1] == uninterrupted["optimizer_history"][-1]
    assert all(torch.equal(resumed["model"][k], v) for k, v in uninterrupted["model"].items())


def test_a_signal_during_validation_saves_at_once(
    fairseq_train: Callable[..., None], signal_during: Callable[..., None], tmp_path: Path
) -> None:
    signal_during("valid_step", 1, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fairseq_train("--max-epoch", "2")
    assert updates_in(tmp_path / "checkpoint_last.pt") == 12


def test_a_second_signal_is_answered_as_before(
    fairseq_train: Callable[..., None], signal_during: Callable[..., None]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal_during("train_step", 1, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fairseq_train("--max-update", "2", "--disable-validation")
    assert signal.getsignal(signal.SIGTERM) == before


def test_after_training_a_signal_is_answered_as_before(
    fairseq_train: Callable[..., None],
) -> None:
    fairseq_train("--max-update", "1", "--disable-validation")
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert compat._stop_request.signum == 0


def test_nothing_is_claimed_saved_with_no_save(
    fairseq_train: Callable[..., None],
    signal_during: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    signal_during("train_step", 2, signal.SIGTERM)
    with pytest.raises(SystemExit):
        fairseq_train("--max-update", "8", "--disable-validation", "--no-save")
    assert "nothing was saved" in caplog.text
    assert not list(tmp_path.glob("*.pt"))


def test_defect_fairseq_answers_no_signal() -> None:
    code = [train.train, train.main, Trainer.train_step.__wrapped__, utils.import_user_module]
    assert not any("signal" in function.__code__.co_names for function in code)
