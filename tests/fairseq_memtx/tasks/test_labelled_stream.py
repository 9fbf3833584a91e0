"""Labels of a text in order: what is learnt, counted, carried, resumed and refused."""

import functools
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
from fairseq import tasks

from data_prep.cli import main as prepare
from fairseq_memtx.ground.errors import UserError
from tests.choosing import some
from tests.fairseq_memtx import tiny_training as training
from tests.fairseq_memtx.tiny_training import assert_equal, load

TINY = (
    "--decoder-layers 1 --decoder-embed-dim 8 --decoder-input-dim 8 --decoder-output-dim 8"
    " --decoder-ffn-embed-dim 8 --decoder-attention-heads 2 --dropout 0.1"
    " --batch-size 3 --tokens-per-sample 12 --optimizer adam --lr 0.01 --cpu"
    " --no-progress-bar --log-format simple --num-workers 0 --required-batch-size-multiple 1"
    " --criterion label_smoothed_cross_entropy --label-smoothing 0 --report-accuracy"
)
KIND = {"task": "memtx_labelled_stream", "tiny": TINY}
run_training = functools.partial(training.run_training, **KIND)
config_of = functools.partial(training.config_of, **KIND)
SEGMENTS = "--memtx-segment-len 6 --memtx-mem-len 6"
MODELS = {
    "transformer": "--arch transformer_lm",
    "feedback": "--arch memtx_feedback_lm --memtx-relative-positions 9 --memtx-memory-span 8"
    " --no-token-positional-embeddings",
    "transformer-xl": f"--arch memtx_transformer_xl_lm {SEGMENTS}",
    "compressive": f"--arch memtx_compressive_lm {SEGMENTS} --memtx-cmem-len 4"
    " --memtx-compression-rate 3 --criterion memtx_compression",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("programs")
    flags = ["--statements", "10", "--programs", "12", "3", "3"]
    assert prepare(["programs", "--out", str(out), *flags]) == 0
    return out / "bin"


def task_of(data: Path, save_dir: Path, *flags: str):
    cfg = config_of(data, save_dir, *MODELS["feedback"].split(), *flags)
    return tasks.setup_task(cfg.task), cfg


def test_a_label_stands_at_the_position_of_its_word(data: Path, tmp_path: Path) -> None:
    task, _ = task_of(data, tmp_path)
    task.load_dataset("train")
    batches = task.get_batch_iterator(task.dataset("train"), max_sentences=3)
    words, labels = [], []
    for batch in batches.next_epoch_itr(shuffle=False):
        words.append(batch["net_input"]["src_tokens"])
        labels.append(batch["target"])
        assert batch["ntokens"] == int(batch["target"].ne(task.output_dictionary.pad()).sum())
    rows = torch.cat(words, dim=1), torch.cat(labels, dim=1)
    told = [(data.parent / "text" / f"train.{kind}").read_text() for kind in ("words", "labels")]
    text, marks = (lines.replace("\n", " </s> ").split() for lines in told)
    expected = iter(mark for word, mark in zip(text, insert_ends(text, marks), strict=True))
    pad = task.source_dictionary.pad()
    for word, label in zip(rows[0].view(-1).tolist(), rows[1].view(-1).tolist(), strict=True):
        if word != pad:
            mark = next(expected)
            symbol = "_" if label == pad else task.output_dictionary[label]
            assert symbol == mark
    assert next(expected, None) is None


def insert_ends(text: list[str], marks: list[str]) -> list[str]:
    """No label at the ends of lines."""
    return ["_" if word == "</s>" else mark for word, mark in zip(text, marks, strict=True)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "feedback")) for name in MODELS],
)
def test_it_trains_and_tells_its_accuracy(
    name: str, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    best = "--best-checkpoint-metric accuracy --maximize-best-checkpoint-metric"
    accuracy = [] if name == "compressive" else best.split()
    run_training(data, tmp_path, *MODELS[name].split(), "--max-epoch", "2", *accuracy)
    assert (tmp_path / "checkpoint_best.pt").is_file()
    if accuracy:
        assert re.search(r"valid.*accuracy [0-9.]+", caplog.text)


@pytest.mark.parametrize("name", some(["feedback", "transformer-xl"], 2))
def test_a_training_goes_on_exactly_in_the_middle_of_an_epoch(
    name: str, data: Path, tmp_path: Path
) -> None:
    flags = [*MODELS[name].split(), "--disable-validation", "--save-interval-updates", "4"]
    run_training(data, tmp_path / "whole", *flags, "--max-update", "8")
    run_training(data, tmp_path / "parts", *flags, "--max-update", "4")
    run_training(data, tmp_path / "parts", *flags, "--max-update", "8")
    whole, parts = (load(tmp_path / name / "checkpoint_last.pt") for name in ("whole", "parts"))
    for kept in ("model", "last_optimizer_state"):
        assert_equal(whole[kept], parts[kept])


def test_the_memory_reaches_over_blocks(data: Path, tmp_path: Path) -> None:
    """Other words in the block before change what is said of this one, where there is a memory."""
    for name, changes in (("feedback", True), ("transformer", False)):
        cfg = config_of(data, tmp_path, *MODELS[name].split())
        task = tasks.setup_task(cfg.task)
        torch.manual_seed(0)
        model = task.build_model(cfg.model).eval()
        task.load_dataset("valid")
        blocks = list(
            task.get_batch_iterator(task.dataset("valid"), max_sentences=3).next_epoch_itr()
        )
        seen = []
        for shift in (0, 1):
            words = blocks[0]["net_input"]["src_tokens"]
            other = {**blocks[0]["net_input"], "src_tokens": (words + shift).clamp(max=10)}
            with torch.no_grad():
                first = task._with_stream({**blocks[0], "net_input": other}, f"pass {shift}")
                model(**first["net_input"])
                second = task._with_stream(blocks[1], f"pass {shift}")
                seen.append(model(**second["net_input"])[0])
        assert torch.equal(*seen) is not changes


def test_mistakes_are_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dict\.txt` is missing"):
        task_of(tmp_path, tmp_path)
    task, cfg = task_of(data, tmp_path, "--share-decoder-input-output-embed")
    with pytest.raises(UserError, match="dictionaries of their own"):
        task.build_model(cfg.model)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    for end in ("bin", "idx"):
        shutil.copy(copy / f"train.label.{end}", copy / f"valid.label.{end}")
    task, _ = task_of(copy, tmp_path)
    with pytest.raises(UserError, match=r"labels for .* words: prepare both again"):
        task.load_dataset("valid")
    (copy / "valid.label.idx").unlink()
    (copy / "valid.label.bin").unlink()
    with pytest.raises(UserError, match=r"valid\.label\.bin` is missing"):
        task.load_dataset("valid")


def test_it_is_computed_as_asked(data: Path, tmp_path: Path) -> None:
    task, _ = task_of(data, tmp_path, "--memtx-cpu-math", "float32", "--memtx-loss", "whole")
    assert task.compute_options.cpu_math == "float32"
    assert not task.memtx_loss_in_pieces


@pytest.mark.parametrize("name", ["transformer", "transformer-xl"])
def test_a_split_is_read_with_memory_where_the_model_has_one(
    name: str, data: Path, tmp_path: Path
) -> None:
    cfg = config_of(data, tmp_path, *MODELS[name].split())
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model).eval()
    task.load_dataset("test")
    batches = task.eval_lm_dataloader(task.dataset("test"), batch_size=2)
    shapes = [model(**batch["net_input"])[0].shape for batch in batches]
    assert len(shapes) == len(batches) > 1
    assert all(shape[-1] == len(task.output_dictionary) for shape in shapes)
