"""Data in parts has one dictionary."""

from pathlib import Path

import pytest
from fairseq import tasks
from fairseq.tasks.translation import TranslationTask

from fairseq_memtx import repairs
from fairseq_memtx.data.binarised import check_parts
from fairseq_memtx.ground.errors import UserError
from tests.choosing import some
from tests.fairseq_memtx.tiny_training import TINY, config_of, load, make_data, run_training

repairs.apply()


def swap_two_words(folder: Path) -> None:
    path = folder / "dict.de.txt"
    lines = path.read_text().split("\n")
    lines[0], lines[1] = lines[1], lines[0]
    path.write_text("\n".join(lines))


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return [make_data(tmp_path / name, 24, seed) for seed, name in enumerate("ab")]


@pytest.mark.parametrize("task", some(["memtx_translation", "translation"], 2))
def test_parts_are_trained_on_one_after_the_other(
    task: str, parts: list[Path], tmp_path: Path
) -> None:
    flags = ["--max-epoch", "2", "--disable-validation"]
    run_training(":".join(map(str, parts)), tmp_path / "save", *flags, task=task)
    assert load(tmp_path / "save/checkpoint2.pt")["optimizer_history"][-1]["num_updates"] > 2


@pytest.mark.parametrize("task", ["translation", "memtx_translation"])
def test_other_words_are_refused_before_anything_is_trained(
    task: str, parts: list[Path], tmp_path: Path
) -> None:
    swap_two_words(parts[1])
    with pytest.raises(UserError, match=r"`.*/b/dict\.de\.txt` differs from"):
        run_training(":".join(map(str, parts)), tmp_path / "save", "--max-epoch", "2", task=task)
    assert not list((tmp_path / "save").glob("*.pt"))


def test_a_part_without_a_dictionary_is_no_other(parts: list[Path]) -> None:
    (parts[1] / "dict.de.txt").unlink()
    check_parts(parts)
    check_parts(parts[:1])
    check_parts([])


def test_defect_stock_reads_the_first_dictionary_alone(parts: list[Path], tmp_path: Path) -> None:
    """Fails once fairseq compares them."""
    swap_two_words(parts[1])
    cfg = config_of(":".join(map(str, parts)), tmp_path, task="translation", tiny=TINY)
    task = tasks.setup_task(cfg.task)
    TranslationTask.load_dataset.__wrapped__(task, "train", epoch=2)
    assert len(task.dataset("train")) == 24
