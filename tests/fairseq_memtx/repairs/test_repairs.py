"""All changes of fairseq together: made once, taken back, and left out where that is asked for."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils, token_block_dataset
from fairseq.file_io import PathManager
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.trainer import Trainer

from fairseq_memtx import repairs, training
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.repairs.wrapping import wrap
from fairseq_memtx.training.told_tasks import tell_tasks

HERE = Path(__file__).parent
CHANGED: list[tuple[Any, str]] = [
    (PathManager, "copy"),
    (data_utils, "batch_by_size"),
    (checkpoint_utils, "torch_persistent_save"),
    (checkpoint_utils, "load_checkpoint"),
    (checkpoint_utils, "load_checkpoint_to_cpu"),
    (checkpoint_utils, "load_model_ensemble_and_task"),
    (checkpoint_utils, "save_checkpoint"),
    (NGramRepeatBlock, "_no_repeat_ngram"),
    (Trainer, "load_checkpoint"),
    (Trainer, "get_train_iterator"),
    (Trainer, "train_step"),
    (Trainer, "valid_step"),
]


def present() -> list[Any]:
    """What is in each place now."""
    return [vars(owner)[name] for owner, name in CHANGED]


@pytest.fixture
def changed() -> Iterator[None]:
    """With all changes before and after the test, whatever it does."""
    repairs.apply()
    tell_tasks()
    yield
    repairs.apply()
    tell_tasks()


@pytest.mark.usefixtures("changed")
def test_applying_twice_changes_once() -> None:
    before = present()
    repairs.apply()
    tell_tasks()
    assert present() == before
    functions = [getattr(owner, name) for owner, name in CHANGED]
    assert all(hasattr(function, "memtx_around") for function in functions)
    assert not any(hasattr(function.__wrapped__, "memtx_around") for function in functions)


@pytest.mark.usefixtures("changed")
def test_all_changes_can_be_taken_back_and_made_again() -> None:
    ours, classes = present(), set(map(str, torch.serialization.get_safe_globals()))
    stock = [getattr(owner, name).__wrapped__ for owner, name in CHANGED]
    repairs.undo()
    assert [getattr(owner, name) for owner, name in CHANGED] == stock
    assert isinstance(vars(PathManager)["copy"], staticmethod)
    assert not any("argparse" in str(item) for item in torch.serialization.get_safe_globals())
    assert not hasattr(token_block_dataset.np, "compat")
    repairs.apply()
    tell_tasks()
    assert [before.__name__ for before in ours] == [now.__name__ for now in present()]
    assert all(hasattr(getattr(owner, name), "memtx_around") for owner, name in CHANGED)
    assert set(map(str, torch.serialization.get_safe_globals())) == classes


@pytest.mark.usefixtures("changed")
@pytest.mark.parametrize("value, changes", [("1", False), ("0", True), ("", True)])
def test_the_environment_leaves_fairseq_alone(
    value: str, changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(repairs.LEAVE_ALONE, value)
    repairs.undo()
    repairs.apply()
    assert hasattr(data_utils.batch_by_size, "memtx_around") == changes
    monkeypatch.delenv(repairs.LEAVE_ALONE)


@pytest.mark.slow
def test_a_process_that_is_to_leave_fairseq_alone_does() -> None:
    program = (
        "import fairseq_memtx.models.feedback, fairseq.data.data_utils as d;"
        "from fairseq.trainer import Trainer;"
        "print(*(hasattr(f, 'memtx_around') for f in (d.batch_by_size, Trainer.train_step)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={repairs.LEAVE_ALONE: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["False"] * 2


def test_another_value_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(repairs.LEAVE_ALONE, "yes")
    with pytest.raises(UserError, match="MEMTX_LEAVE_FAIRSEQ_ALONE is `yes`: set it to 1"):
        repairs.apply()


def test_a_function_can_be_wrapped_several_times() -> None:
    class Owner:
        @staticmethod
        def join(*words: str) -> str:
            return " ".join(words)

    stock = Owner.join

    def hello(before: Any, *words: str) -> str:
        return before("hello", *words)

    def loud(before: Any, *words: str) -> str:
        return before(*words).upper()

    for _ in range(2):
        wrap(Owner, "join", hello)
        wrap(Owner, "join", loud)
    assert Owner.join("you") == Owner().join("you") == "HELLO YOU"
    assert Owner.join.__wrapped__ is stock


def test_each_change_says_when_it_may_go_and_has_a_test_that_tells() -> None:
    modules = [*repairs.REPAIRS, *training.ADDITIONS]
    files = {path.stem for path in Path(repairs.__file__).parent.glob("[!_]*.py")}
    helpers = {"wrapping", "missing_fairseq"}
    assert files == {module.__name__.rpartition(".")[2] for module in repairs.REPAIRS} | helpers
    for module in modules:
        _, folder, name = module.__name__.split(".")
        assert "May go once" in " ".join((module.__doc__ or "").split()), name
        tests = (HERE.parent / folder / f"test_{name}.py").read_text()
        assert "def test_defect_" in tests, name
        assert callable(importlib.import_module(module.__name__).apply)
