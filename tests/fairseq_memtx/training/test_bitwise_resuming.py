"""A training that is resumed ends bit for bit where an uninterrupted one does (fp32, CPU).

A training of a few epochs of about 5 updates each, saved after every update, is compared with those
that go on from one of its checkpoints: in the middle of an epoch or at its start, while the length
schedule (8 updates) runs or after it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fairseq_memtx.tiny_training import (
    assert_same_training,
    load,
    make_data,
    run_training,
    run_two_ranks,
)

SCHEDULE = "--memtx-length-schedule linear --memtx-length-updates 8 --memtx-length-step 2"
MODES = {
    "stock order": "",
    "order": f"{SCHEDULE} --memtx-length-mode order",
    "filter": f"{SCHEDULE} --memtx-length-mode filter",
    "prefix": f"{SCHEDULE} --memtx-length-mode prefix",
}
#: Two epochs, all updates of which are saved.
SAVING = (
    "--max-epoch 2 --save-interval-updates 1 --no-last-checkpoints --disable-validation"
    " --max-tokens 100"
)

Run = Callable[..., None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("resume") / "data", train_pairs=36)


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a whole training with these flags, made once."""
    made: dict[tuple, Path] = {}

    def train(run: Run, flags: str, **kwargs: str) -> Path:
        key = (run, flags, *kwargs.values())
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole") / "save"
            run(data, made[key], *SAVING.split(), *flags.split(), **kwargs)
        return made[key]

    return train


def checkpoints(folder: Path) -> list[tuple[int, int, Path]]:
    """Epoch, updates and path of those saved within epochs, and after them, by update."""
    saved = {}
    for path in folder.glob("checkpoint*.pt"):
        state = load(path)
        updates = state["optimizer_history"][-1]["num_updates"]
        saved[updates] = (state["extra_state"]["train_iterator"]["epoch"], updates, path)
    return [saved[updates] for updates in sorted(saved)]


def resumed(run: Run, data: Path, checkpoint: Path, folder: Path, flags: str, **kwargs) -> Path:
    """The folder of a training that goes on from `checkpoint`."""
    goes_on = ["--restore-file", str(checkpoint), *SAVING.split(), *flags.split()]
    run(data, folder, *goes_on, **kwargs)
    return folder


def check_resuming(
    run: Run, data: Path, whole: Path, folder: Path, flags: str, which: slice, **kwargs: str
) -> None:
    """Resume from the chosen checkpoints; compare the ends."""
    saved = checkpoints(whole)
    end = saved[-1][2]
    for epoch, updates, checkpoint in saved[:-1][which]:
        again = resumed(run, data, checkpoint, folder / f"{epoch}-{updates}", flags, **kwargs)
        assert_same_training(end, again / end.name)


@pytest.mark.parametrize(
    "mode",
    [pytest.param(mode, marks=[pytest.mark.slow] * (mode != "order")) for mode in MODES],
)
def test_resuming_changes_nothing(
    mode: str, data: Path, uninterrupted: Callable[..., Path], tmp_path: Path
) -> None:
    """From the middle of the first epoch and of the second, both within the schedule."""
    whole = uninterrupted(run_training, MODES[mode])
    epochs = [epoch for epoch, _, _ in checkpoints(whole)]
    # 1 1 1 2 2 2 2 3 ...: what is saved at the end of an epoch belongs to the next one
    assert epochs[1] == 1 and epochs[6] == 2
    check_resuming(run_training, data, whole, tmp_path, MODES[mode], slice(1, 7, 5))


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", "--update-freq 2,1", "--num-workers 2"])
@pytest.mark.parametrize("mode", MODES)
def test_resuming_anywhere_changes_nothing(
    mode: str, flags: str, data: Path, uninterrupted: Callable[..., Path], tmp_path: Path
) -> None:
    flags = f"{MODES[mode]} {flags} --max-epoch 3"
    whole = uninterrupted(run_training, flags)
    check_resuming(run_training, data, whole, tmp_path, flags, slice(None))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_two_ranks_resume_exactly(
    mode: str, data: Path, uninterrupted: Callable[..., Path], tmp_path: Path
) -> None:
    whole = uninterrupted(run_two_ranks, MODES[mode])
    check_resuming(run_two_ranks, data, whole, tmp_path, MODES[mode], slice(3, 4))


def test_the_schedule_shapes_the_training(data: Path, uninterrupted: Callable[..., Path]) -> None:
    """A negative control: had the modes no effect, the tests above would say little."""
    ends = [checkpoints(uninterrupted(run_training, flags))[-1][2] for flags in MODES.values()]
    for number, end in enumerate(ends):
        for other in ends[:number]:
            with pytest.raises(AssertionError):
                assert_same_training(end, other)


@pytest.mark.slow
def test_defect_stock_translation_resumes_with_other_batches(
    data: Path, uninterrupted: Callable[..., Path], tmp_path: Path
) -> None:
    """Fails once fairseq resumes exactly; then our task need not see to it."""
    whole = uninterrupted(run_training, "", task="translation")
    with pytest.raises(AssertionError):
        check_resuming(run_training, data, whole, tmp_path, "", slice(6, 7), task="translation")
