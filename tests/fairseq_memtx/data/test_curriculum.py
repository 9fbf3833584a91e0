"""The batches that an epoch holds while a length schedule runs, read from the task's iterator."""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq import tasks

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.schedule import LengthDistribution
from fairseq_memtx.training.told_tasks import TrainingState
from tests.choosing import some
from tests.fairseq_memtx.tiny_training import config_of, make_data, write_pairs

START = TrainingState(
    updates=0, max_update=0, update_freq=(1,), sorted_epochs=0, grouped_shuffling=False
)
SCHEDULE = "--memtx-length-schedule linear --memtx-length-updates 20 --memtx-length-start 5"
MODES = ("order", "filter", "prefix")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("curriculum") / "data", train_pairs=300)


def make_task(data: Path | str, *flags: str) -> Any:
    """The task with its training data."""
    task = tasks.setup_task(config_of(data, Path("unused"), *flags).task)
    task.load_dataset("train", combine=True, epoch=1)
    return task


def make_iterator(task: Any, state: TrainingState = START, epoch: int = 1, **settings: Any) -> Any:
    """What fairseq's trainer asks for."""
    task.memtx_training = state
    asked = {"max_tokens": 120, "max_positions": (1024, 1024), "seed": 1, **settings}
    iterator = task.get_batch_iterator(task.dataset("train"), epoch=epoch, **asked)
    task.memtx_training = None
    return iterator


def run_epoch(task: Any, iterator: Any, state: TrainingState = START) -> list[dict[str, Any]]:
    """The batches of the next epoch, which begins in `state`."""
    make_iterator(task, state)
    return list(iterator.next_epoch_itr())


def batches_of(data: Path, mode: str, *flags: str, **settings: Any) -> list[dict[str, Any]]:
    """The batches of the first epoch."""
    task = make_task(data, *SCHEDULE.split(), "--memtx-length-mode", mode, *flags)
    return list(make_iterator(task, **settings).next_epoch_itr())


def target_lengths(batch: dict[str, Any]) -> torch.Tensor:
    """Tokens of each target."""
    return batch["target"].ne(1).sum(dim=1)


def ids(batches: list[dict[str, Any]]) -> list[int]:
    """All pairs, in the order in which they come."""
    return [number for batch in batches for number in batch["id"].tolist()]


def limits(task: Any) -> Iterator[int]:
    """The limit at each update."""
    return (task.curriculum.schedule.at(update) for update in itertools.count())


def test_order_holds_every_pair_once_and_keeps_to_the_limit(data: Path) -> None:
    task = make_task(data, *SCHEDULE.split())
    batches = list(make_iterator(task).next_epoch_itr())
    assert sorted(ids(batches)) == list(range(300))
    # 300 pairs hold enough short ones for this schedule, so that no batch comes too early
    for batch, limit in zip(batches, limits(task), strict=False):
        assert target_lengths(batch).max() <= limit
    assert len(batches) > 20


def test_order_keeps_batches_full_and_pure(data: Path) -> None:
    """Tokens per update stay, padding included, and a short stage pays for no long target."""
    plain = list(make_iterator(make_task(data)).next_epoch_itr())
    ordered = batches_of(data, "order")
    assert len(ordered) <= 1.05 * len(plain)
    assert all(max(b["target"].numel(), b["net_input"]["src_tokens"].numel()) <= 120
               for b in ordered)  # fmt: skip
    padding = [sum(int(b["target"].eq(1).sum()) for b in epoch) for epoch in (ordered, plain)]
    assert padding[0] < 0.5 * padding[1]


def test_order_is_random_within_the_limit(data: Path) -> None:
    seeds = [ids(batches_of(data, "order", seed=seed)) for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_filter_leaves_out_and_repeats_while_the_schedule_runs(data: Path) -> None:
    slow = [*SCHEDULE.split(), "--memtx-length-updates", "40"]
    task = make_task(data, *slow, "--memtx-length-mode", "filter")
    iterator = make_iterator(task)
    first = list(iterator.next_epoch_itr())
    for batch, limit in zip(first, limits(task), strict=False):
        assert target_lengths(batch).max() <= limit
    assert len(set(ids(first))) < len(ids(first))
    afterwards = run_epoch(task, iterator, dataclasses.replace(START, updates=40))
    assert sorted(ids(afterwards)) == list(range(300))


def test_filter_keeps_the_number_of_batches(data: Path) -> None:
    assert len(batches_of(data, "filter")) == len(batches_of(data, "order"))


def test_prefix_cuts_targets_and_nothing_else(data: Path) -> None:
    task = make_task(data, *SCHEDULE.split(), "--memtx-length-mode", "prefix")
    pairs = task.dataset("train").dataset
    batches = list(make_iterator(task).next_epoch_itr())
    assert sorted(ids(batches)) == list(range(300))
    num_cut = 0
    for batch, limit in zip(batches, limits(task), strict=False):
        inputs = batch["net_input"]["prev_output_tokens"]
        for row, number in enumerate(batch["id"].tolist()):
            source, target = pairs[number]["source"], pairs[number]["target"]
            kept = target[:limit]
            length = len(kept)
            num_cut += length < len(target)
            assert torch.equal(batch["net_input"]["src_tokens"][row, -len(source) :], source)
            assert torch.equal(batch["target"][row, :length], kept)
            assert batch["target"][row, length:].eq(1).all()
            assert torch.equal(inputs[row, 1:length], kept[:-1]) and inputs[row, 0] == 2
            # the end symbol (2) is a target exactly where the sentence ends
            assert batch["target"][row].eq(2).any() == (length == len(target))
    assert num_cut > 30


def test_prefix_fills_batches_by_what_is_left_of_the_targets(tmp_path: Path) -> None:
    write_pairs(tmp_path, "train", [(3, 15)] * 60, seed=1)
    batches = batches_of(tmp_path, "prefix")
    for batch in batches:
        size = max(batch["target"].numel(), batch["net_input"]["src_tokens"].numel())
        assert size <= 120
    # 5 tokens of each target, then 16 with the end symbol
    assert batches[0]["nsentences"] == 120 // 5
    plain = make_iterator(make_task(tmp_path)).next_epoch_itr()
    assert next(iter(plain))["nsentences"] == 120 // 16


@pytest.mark.parametrize("by, side", [("source", "src_tokens"), ("both", None)])
def test_the_limit_may_be_on_the_source_or_both(data: Path, by: str, side: str | None) -> None:
    longer = [*SCHEDULE.split(), "--memtx-length-start", "7"]
    task = make_task(data, *longer, "--memtx-length-by", by)
    batches = list(make_iterator(task).next_epoch_itr())
    for batch, limit in itertools.islice(zip(batches, limits(task), strict=False), 20):
        assert batch["net_input"]["src_tokens"].ne(1).sum(dim=1).max() <= limit
        assert side or target_lengths(batch).max() <= limit
    assert sorted(ids(batches)) == list(range(300))


@pytest.mark.parametrize("mode", MODES)
def test_two_ranks_share_what_one_rank_gets_in_two_batches(data: Path, mode: str) -> None:
    one = batches_of(data, mode, state=dataclasses.replace(START, update_freq=(2,)))
    ranks = [batches_of(data, mode, num_shards=2, shard_id=rank) for rank in (0, 1)]
    assert abs(len(ranks[0]) - len(ranks[1])) == 0  # the last of the second may be empty
    together = [batch for pair in zip(*ranks, strict=True) for batch in pair if batch]
    assert [batch["id"].tolist() for batch in together] == [b["id"].tolist() for b in one]
    assert all(torch.equal(a["target"], b["target"]) for a, b in zip(together, one, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_an_update_of_several_batches_keeps_to_one_limit(data: Path, mode: str) -> None:
    task = make_task(data, *SCHEDULE.split(), "--memtx-length-mode", mode)
    state = dataclasses.replace(START, update_freq=(4, 1))
    batches = list(make_iterator(task, state).next_epoch_itr())
    schedule = task.curriculum.schedule
    shortest = np.sort([int(target_lengths(batch).max()) for batch in batches])
    for position, batch in enumerate(batches):
        limit = schedule.at(position // 4)
        # "order" has no batch left to spare at times: this one of them is the shortest left
        allowed = limit if mode != "order" else max(limit, shortest[position])
        assert target_lengths(batch).max() <= allowed


@pytest.mark.parametrize(
    "mode", [pytest.param(m, marks=[pytest.mark.slow] * (m != "order")) for m in MODES]
)
def test_workers_change_nothing(data: Path, mode: str) -> None:
    alone, helped = (batches_of(data, mode, num_workers=workers) for workers in (0, 2))
    assert ids(alone) == ids(helped)
    assert all(torch.equal(a["target"], b["target"]) for a, b in zip(alone, helped, strict=True))


@pytest.mark.parametrize(("mode", "skipped"), some(itertools.product(MODES, [0, 2]), 5))
def test_an_epoch_goes_on_where_it_stopped(data: Path, mode: str, skipped: int) -> None:
    """Also where some of its updates were skipped, as fp16 does on overflow."""
    flags = [*SCHEDULE.split(), "--memtx-length-mode", mode]
    before = dataclasses.replace(START, updates=9)
    task = make_task(data, *flags)
    iterator = make_iterator(task, before)
    epoch = iterator.next_epoch_itr()
    for _ in range(7):
        next(epoch)
    saved = iterator.state_dict()
    rest = list(epoch)
    again_task = make_task(data, *flags)
    now = dataclasses.replace(START, updates=9 + 7 - skipped)
    again = make_iterator(again_task, now, epoch=saved["epoch"])
    again.load_state_dict(saved)
    resumed = list(again.next_epoch_itr())
    assert ids(resumed) == ids(rest)
    assert all(torch.equal(a["target"], b["target"]) for a, b in zip(resumed, rest, strict=True))


def test_after_the_schedule_epochs_are_those_of_a_run_without_one(data: Path) -> None:
    over = dataclasses.replace(START, updates=20)
    plain = list(make_iterator(make_task(data), over).next_epoch_itr())
    for mode in MODES:
        batches = batches_of(data, mode, state=over)
        assert ids(batches) == ids(plain)


def test_validation_is_always_whole(data: Path) -> None:
    task = make_task(data, *SCHEDULE.split(), "--memtx-length-mode", "prefix")
    make_iterator(task).next_epoch_itr()
    task.load_dataset("valid")
    batches = task.get_batch_iterator(task.dataset("valid"), max_tokens=120).next_epoch_itr(
        shuffle=False
    )
    lengths = sorted(length for b in batches for length in target_lengths(b).tolist())
    assert lengths == sorted(task.dataset("valid").sizes[:, 1].tolist())


def test_decoding_the_training_set_is_not_curtailed(data: Path) -> None:
    task = make_task(data, *SCHEDULE.split(), "--memtx-length-mode", "prefix")
    batches = list(task.get_batch_iterator(task.dataset("train"), max_tokens=120).next_epoch_itr())
    assert (
        sum(int(target_lengths(b).sum()) for b in batches)
        == task.dataset("train").sizes[:, 1].sum()
    )


def test_each_shard_of_the_data_has_its_own_schedule(data: Path, tmp_path: Path) -> None:
    """Paths separated by a colon are visited in turn, an iterator being made for each epoch."""
    other = make_data(tmp_path / "other", train_pairs=80, seed=7)
    task = make_task(f"{data}:{other}", *SCHEDULE.split())
    numbers = []
    for epoch in (1, 2, 3):
        task.load_dataset("train", combine=True, epoch=epoch)
        iterator = make_iterator(task, epoch=epoch, disable_iterator_cache=True)
        numbers.append(sorted(ids(list(iterator.next_epoch_itr()))))
    assert numbers == [list(range(300)), list(range(80)), list(range(300))]


SEGMENTS = "--arch memtx_transformer_xl --memtx-segment-len 4 --memtx-length-unit segments"


def make_segment_task(data: Path, *flags: str) -> Any:
    """The task, once it has built a decoder that works in segments of four subwords."""
    cfg = config_of(data, Path("unused"), *SEGMENTS.split(), *flags)
    task = tasks.setup_task(cfg.task)
    task.build_model(cfg.model)
    task.load_dataset("train", combine=True, epoch=1)
    return task


@pytest.mark.parametrize("kind", ["linear", "root", "stages", "competence"])
def test_the_schedule_may_drive_the_number_of_segments(data: Path, kind: str) -> None:
    flags = f"--memtx-length-schedule {kind} --memtx-length-updates 20 --memtx-length-mode prefix"
    task = make_segment_task(data, *flags.split(), "--memtx-length-start", "1")
    batches = list(make_iterator(task).next_epoch_itr())
    longest = task.dataset("train").sizes[:, 1].max()
    assert task.curriculum.schedule.end == 4 * math.ceil(longest / 4)
    seen = []
    for batch, limit in itertools.islice(zip(batches, limits(task), strict=False), 20):
        assert limit % 4 == 0
        assert target_lengths(batch).max() <= limit
        seen.append(limit // 4)
    assert seen[0] == 1 and seen == sorted(seen) and len(set(seen)) > 2
    assert sorted(ids(batches)) == list(range(300))


@pytest.mark.slow
def test_segments_are_counted_in_start_end_and_step(data: Path) -> None:
    counted = "--memtx-length-start 1 --memtx-length-end 5 --memtx-length-step 2"
    task = make_segment_task(data, *SCHEDULE.split(), *counted.split())
    make_iterator(task)
    schedule = task.curriculum.schedule
    assert (schedule.start, schedule.end, schedule.step) == (4, 20, 8)
    assert {schedule.at(update) for update in range(20)} == {4, 12}


def test_segments_need_a_decoder_that_works_in_them(data: Path) -> None:
    task = make_task(data, *SCHEDULE.split(), "--memtx-length-unit", "segments")
    with pytest.raises(
        UserError,
        match="--memtx-length-unit is segments: it has to be subwords with a decoder that",
    ):
        make_iterator(task)


def steps_per_token(batches: list[dict[str, Any]]) -> float:
    """Positions of the batches, each a step of a recurrent decoder, for each target token."""
    return sum(b["target"].size(1) for b in batches) / sum(b["ntokens"] for b in batches)


@pytest.mark.parametrize("mode", some(["order", "filter"], 2))
def test_short_stages_take_fewer_steps_for_each_token(tmp_path: Path, mode: str) -> None:
    """Batches stay full, so that a step is of more sentences the shorter they are."""
    write_pairs(tmp_path, "train", [(n, n) for n in range(1, 40)] * 40, seed=1)
    stages = "--memtx-length-schedule stages --memtx-length-start 10 --memtx-length-updates 60"
    task = make_task(tmp_path, *stages.split(), "--memtx-length-mode", mode)
    batches = list(make_iterator(task, max_tokens=400).next_epoch_itr())
    assert [task.curriculum.schedule.at(update) for update in (0, 15, 30, 45)] == [10, 20, 30, 40]
    steps = []
    for stage in range(4):
        own = batches[15 * stage : 15 * (stage + 1)]
        tokens = sum(batch["ntokens"] for batch in own)
        assert tokens / len(own) > 0.85 * 400
        padding = 1 - tokens / sum(batch["target"].numel() for batch in own)
        assert padding < (0.15 if stage == 0 else 0.05)  # a batch may hold 1, 2 and 3 words
        steps.append(steps_per_token(own))
    assert steps == sorted(steps)
    plain = list(make_iterator(make_task(tmp_path), max_tokens=400).next_epoch_itr())
    assert steps[0] < 0.5 * steps_per_token(plain)


@pytest.mark.slow
def test_prefixes_take_fewer_steps_only_where_sources_leave_room(tmp_path: Path) -> None:
    """The whole source counts towards `--max-tokens`: as long as the target it leaves none."""
    flags = "--memtx-length-schedule linear --memtx-length-start 5 --memtx-length-mode prefix"
    per_token = {}
    for words in (3, 15):
        folder = tmp_path / str(words)
        folder.mkdir()
        write_pairs(folder, "train", [(words, 15)] * 60, seed=1)
        first = next(iter(make_iterator(make_task(folder, *flags.split())).next_epoch_itr()))
        assert first["target"].size(1) == 5
        plain = list(make_iterator(make_task(folder)).next_epoch_itr())
        per_token[words] = steps_per_token([first]) / steps_per_token(plain)
    assert per_token[3] < 0.4
    assert per_token[15] == pytest.approx(1.0, abs=0.15)


def test_the_start_and_the_end_come_from_the_data(data: Path) -> None:
    task = make_task(data, "--memtx-length-schedule", "competence")
    iterator = make_iterator(task)
    schedule = task.curriculum.schedule
    lengths = task.dataset("train").sizes[:, 1]
    assert schedule.start == LengthDistribution(lengths).shortest_limit(0.01)
    assert schedule.end == lengths.max()
    assert schedule.updates == len(iterator.frozen_batches)


@pytest.mark.parametrize(
    "flags, state, says",
    [
        (
            "--memtx-length-start 1",
            {},
            "--memtx-length-start is 1: it has to be at least 2, the length of",
        ),
        (
            "--memtx-length-end 1",
            {},
            "--memtx-length-end is 1: it has to be at least 2, which a hundredth",
        ),
        ("", {"sorted_epochs": 1}, "--curriculum, which sorts batches, cannot be used with"),
        ("", {"grouped_shuffling": True}, "--grouped-shuffling cannot be used with"),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(
    data: Path, flags: str, state: dict, says: str
) -> None:
    task = make_task(data, "--memtx-length-schedule", "linear", *flags.split())
    with pytest.raises(UserError, match=says):
        make_iterator(task, dataclasses.replace(START, **state))


IMPOSSIBLE = [
    (
        "--memtx-length-schedule sudden",
        "is sudden: it has to be one of none, linear, root, ",
    ),
    (
        "--memtx-length-start 9 --memtx-length-end 8",
        "-end is 8: it has to be at least .* 9",
    ),
    (
        "--memtx-length-mode prefix --memtx-length-by source",
        "-by is (source|both): it has to be target with",
    ),
    (
        "--memtx-length-unit segments --memtx-length-by both",
        "-by is (source|both): it has to be target with",
    ),
    ("--memtx-length-step 0", "--memtx-length-step is 0: it has to be at least 1"),
    ("--memtx-length-stages 1", "--memtx-length-stages is 1: it has to be at least 2"),
    (
        "--memtx-length-updates 9",
        "-updates is .* leave it out without --memtx-length-schedule",
    ),
    (
        f"{SCHEDULE} --memtx-length-stages 5",
        "leave it out without --memtx-length-schedule stages",
    ),
]


@pytest.mark.parametrize("flags, says", some(IMPOSSIBLE, 2))
def test_impossible_flags_are_refused(data: Path, flags: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_task(data, *flags.split())


@pytest.mark.parametrize("end", [{"max_update": 19}, {"max_epoch": 2}])
def test_a_schedule_that_never_ends_is_warned_of(
    end: dict, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(data, *SCHEDULE.split(), "--memtx-length-updates", "200")
    make_iterator(task, dataclasses.replace(START, **end))
    assert "the length schedule never ends: --memtx-length-updates is 200" in caplog.text


def test_a_schedule_that_ends_is_not_warned_of(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(data, *SCHEDULE.split())
    make_iterator(task, dataclasses.replace(START, max_update=20, max_epoch=9))
    assert "length schedule linear" in caplog.text and "the length schedule" not in caplog.text


@pytest.mark.parametrize(
    "max_update, max_epoch, last", [(0, 0, math.inf), (30, 0, 30), (0, 3, 3 + 6 + 6), (30, 9, 30)]
)
def test_a_training_ends_by_updates_or_epochs(max_update: int, max_epoch: int, last: float) -> None:
    """Eleven batches a rank: three updates of four, then six of two."""
    limits = {"max_update": max_update, "max_epoch": max_epoch}
    state = dataclasses.replace(START, update_freq=(4, 2), **limits)
    assert state.last_update(11) == last


@pytest.mark.parametrize("mode", MODES)
def test_a_schedule_that_limits_nothing_is_warned_of(
    mode: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--memtx-length-start", "500", "--memtx-length-mode", mode]
    make_iterator(make_task(data, *SCHEDULE.split(), *flags))
    assert (
        "limits nothing: no pair is longer than --memtx-length-start, which is 500" in caplog.text
    )


def test_a_schedule_slower_than_its_epoch_is_warned_of(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batches_of(data, "order", "--memtx-length-updates", "500")
    assert "the length schedule grows slower than epoch 1 needs" in caplog.text


def test_alignment_points_beyond_a_cut_are_dropped() -> None:
    from fairseq_memtx.data.prefix_dataset import CutPair, PrefixDataset

    pair = {
        "id": 0,
        "source": torch.tensor([5, 6, 7, 8, 2]),
        "target": torch.tensor([5, 6, 7, 8, 9, 10, 2]),
        "alignment": torch.tensor([0, 0, 1, 2, 3, 3, 2, 5]),
    }
    cut = PrefixDataset([pair])[CutPair(0, 4)]
    assert cut["target"].tolist() == [5, 6, 7, 8]
    assert cut["alignment"].tolist() == [0, 0, 1, 2]  # fairseq takes no point on the last token
    assert pair["target"].numel() == 7
