"""Reading fairseq-train's log while it grows, and after a training that was resumed."""

import pytest

from fairseq_memtx.training_log import LogReader, summarise

STAMP = "2026-01-01 10:00:00 | INFO | "
LOG = "".join(
    STAMP + line + "\n"
    for line in (
        "fairseq_cli.train | num. shared model params: 3,884,544 (num. trained: 3,884,544)",
        'train_inner | {"epoch": 1, "update": 0.5, "loss": "9.1", "num_updates": "50"}',
        'valid | {"epoch": 1, "valid_loss": "8.0", "valid_nll_loss": "7.0",'
        ' "valid_num_updates": "100", "valid_best_loss": "8.0"}',
        'train | {"epoch": 1, "train_loss": "8.5", "train_nll_loss": "7.5", "train_wpb": "800",'
        ' "train_num_updates": "100"}',
        'train | {"epoch": 2, "train_loss": "6.5", "train_nll_loss": "5.9", "train_wpb": "810",'
        ' "train_num_updates": "200"}',
        'valid | {"epoch": 2, "valid_loss": "6.6", "valid_nll_loss": "5.5",'
        ' "valid_num_updates": "200", "valid_best_loss": "6.6"}',
        # started again from epoch 1: the second account of epoch 2 counts
        'train | {"epoch": 2, "train_loss": "6.4", "train_nll_loss": "5.8", "train_wpb": "810",'
        ' "train_num_updates": "200"}',
        'valid | {"epoch": 2, "valid_loss": "6.5", "valid_nll_loss": "5.4",'
        ' "valid_num_updates": "200", "valid_best_loss": "6.5"}',
    )
)


def test_summary_of_a_resumed_training(tmp_path) -> None:
    path = tmp_path / "train.log"
    path.write_text(LOG, encoding="utf-8")
    found = summarise(path)
    assert found["parameters"] == 3_884_544
    assert (found["updates"], found["epochs"]) == (200, 2)
    assert found["target_tokens_per_update"] == 805
    assert found["target_tokens"] == 161_000
    assert (found["train_nll_loss"], found["valid_nll_loss"]) == (5.8, 5.4)
    assert found["best_valid_loss"] == 6.5
    assert found["curves"]["valid_nll_loss"] == [[100, 7.0], [200, 5.4]]


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_following_a_growing_log_finds_the_same_events(tmp_path, size: int) -> None:
    path = tmp_path / "train.log"
    reader = LogReader(path)
    assert reader.poll() == []  # not there yet
    events = []
    with path.open("wb", buffering=0) as log:
        for start in range(0, len(LOG), size):
            log.write(LOG.encode()[start : start + size])
            events += reader.poll()
    assert events == LogReader(path).poll()
    assert [event.kind for event in events] == [
        "train_inner",
        *["valid", "train", "train", "valid", "train", "valid"],
    ]
    assert (events[0].updates, events[0].epoch) == (50, 0.5)


def test_an_unfinished_training_has_what_there_is(tmp_path) -> None:
    assert summarise(tmp_path / "none") == {
        "parameters": None,
        "curves": {"train_nll_loss": [], "valid_nll_loss": []},
    }
