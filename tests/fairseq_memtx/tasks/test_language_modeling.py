"""Trainings on a text in order: resumed ones end bit for bit where uninterrupted ones do."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq import tasks

from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx import tiny_training as training
from tests.fairseq_memtx.tiny_training import assert_equal, load, make_text

#: 3 rows of 13 blocks, with dropout, since random numbers must survive a resume too.
TOKENS, ROWS, BLOCK = 230, 3, 6
TINY = (
    "--decoder-layers 2 --decoder-embed-dim 8 --decoder-input-dim 8 --decoder-output-dim 8"
    " --decoder-ffn-embed-dim 8 --decoder-attention-heads 2 --dropout 0.1"
    f" --batch-size {ROWS} --tokens-per-sample {BLOCK} --optimizer adam --lr 0.01 --cpu"
    " --no-progress-bar --log-format none --num-workers 0 --required-batch-size-multiple 1"
)
SAVING = "--max-epoch 2 --save-interval-updates 4 --no-last-checkpoints --disable-validation"
SEGMENTS = "--memtx-segment-len 3 --memtx-mem-len 6"
MODELS = {
    "feedback": "--arch memtx_feedback_lm --memtx-relative-positions 9 --memtx-memory-span 8"
    " --no-token-positional-embeddings",
    "transformer-xl": f"--arch memtx_transformer_xl_lm {SEGMENTS}",
    "compressive": f"--arch memtx_compressive_lm {SEGMENTS} --memtx-cmem-len 4"
    " --memtx-compression-rate 3 --criterion memtx_compression",
    "most-used": f"--arch memtx_compressive_lm {SEGMENTS} --memtx-cmem-len 4"
    " --memtx-compression-rate 3 --memtx-compression most-used",
}
KIND = {"task": "memtx_language_modeling", "tiny": TINY}
run_training = functools.partial(training.run_training, **KIND)
run_two_ranks = functools.partial(training.run_two_ranks, **KIND)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("text"), TOKENS)


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a whole training with these flags, made once."""

    @functools.cache
    def train(flags: str, run: Callable[..., None] = run_training) -> Path:
        folder = tmp_path_factory.mktemp("whole") / "save"
        run(data, folder, *SAVING.split(), *flags.split())
        return folder

    return train


def at_update(folder: Path, updates: int) -> Path:
    (path,) = folder.glob(f"checkpoint_*_{updates}.pt")
    return path


def resumed(data: Path, checkpoint: Path, folder: Path, flags: str, run=run_training) -> Path:
    goes_on = ["--restore-file", str(checkpoint), *SAVING.split(), *flags.split()]
    run(data, folder, *goes_on)
    return folder


def assert_same_end(one: Path, other: Path) -> None:
    left, right = (load(folder / "checkpoint2.pt") for folder in (one, other))
    for part in ("model", "last_optimizer_state"):
        assert_equal(left[part], right[part])
    assert_equal(left["extra_state"]["train_iterator"], right["extra_state"]["train_iterator"])


# in the first epoch of 13 updates, in the second
@pytest.mark.parametrize("updates", [pytest.param(4, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, marks=[] if model == "compressive" else pytest.mark.slow)
        for model in MODELS
    ],
)
def test_resuming_within_an_epoch_changes_nothing(model, updates, data, uninterrupted, tmp_path):
    whole = uninterrupted(MODELS[model])
    again = resumed(data, at_update(whole, updates), tmp_path, MODELS[model])
    assert_same_end(whole, again)


@pytest.mark.parametrize("model", ["feedback", "compressive"])
def test_without_the_memory_it_would_end_elsewhere(model, data, uninterrupted, tmp_path):
    """Negative control, and a checkpoint from before memories were saved."""
    whole = uninterrupted(MODELS[model])
    state = load(at_update(whole, 20))
    memories = state["extra_state"]["train_iterator"].pop("memtx")["memories"]
    assert len(memories) == 1 and memories[0]["block"] == 7
    torch.save(state, tmp_path / "older.pt")
    again = resumed(data, tmp_path / "older.pt", tmp_path / "save", MODELS[model])
    with pytest.raises(AssertionError):
        assert_same_end(whole, again)


@pytest.mark.slow
def test_two_ranks_resume_exactly(data, uninterrupted, tmp_path):
    """13 / 2 blocks a rank: 7 updates an epoch."""
    flags = MODELS["compressive"]
    whole = uninterrupted(flags, run_two_ranks)
    again = resumed(data, at_update(whole, 4), tmp_path / "save", flags, run_two_ranks)
    assert_same_end(whole, again)


def test_a_checkpoint_at_the_end_of_an_epoch_holds_no_memory(data, uninterrupted):
    whole = uninterrupted(MODELS["transformer-xl"])
    for path, has_memory in ((at_update(whole, 12), True), (whole / "checkpoint1.pt", False)):
        state = load(path)["extra_state"]["train_iterator"]
        assert ("memtx" in state) == has_memory


def test_other_rows_begin_with_empty_memories(data, uninterrupted, tmp_path, caplog):
    whole = uninterrupted(MODELS["transformer-xl"])
    flags = f"{MODELS['transformer-xl']} --batch-size 2 --max-epoch 1"
    with caplog.at_level(logging.WARNING):
        resumed(data, at_update(whole, 4), tmp_path, flags)
    assert "goes on with empty memories: rows, tokens of a row and ranks" in caplog.text


def test_fewer_and_larger_updates_late_in_training(data, tmp_path):
    """The Compressive paper's recipe: `--clip-norm 0.1`, and four batches an update later on."""
    flags = "--update-freq 1,4 --clip-norm 0.1 --max-epoch 3 --no-epoch-checkpoints"
    flags += f" --disable-validation {MODELS['compressive']}"
    run_training(data, tmp_path, *flags.split())
    state = load(tmp_path / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 13 + 4 + 4


@pytest.mark.parametrize(
    "flags, says",
    [
        ("--arch transformer_lm", "use language_modeling with a TransformerLang"),
        ("--sample-break-mode eos", "--sample-break-mode is eos: leave it out"),
        ("--add-bos-token", "--add-bos-token is True: leave it out"),
        ("--output-dictionary-size 9", "--output-dictionary-size is 9: leave it out"),
        ("--train-subset other", r"`.*other\.bin` is missing"),
    ],
)
def test_what_a_text_in_order_cannot_have_is_refused(flags, says, data, tmp_path):
    arch = [] if "--arch" in flags else MODELS["transformer-xl"].split()
    with pytest.raises(UserError, match=says) as refusal:
        run_training(data, tmp_path, *SAVING.split(), *arch, *flags.split())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "model, warned", [("--arch memtx_feedback_lm", True), (MODELS["feedback"], False)]
)
def test_a_model_that_carries_nothing_is_warned_of(model, warned, data, tmp_path, caplog):
    cfg = training.config_of(data, tmp_path, *model.split(), **KIND)
    tasks.setup_task(cfg.task).build_model(cfg.model)
    assert ("each block begins without memory" in caplog.text) == warned
