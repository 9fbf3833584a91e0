"""Documents of a binarised set, and fairseq's iterator over their lanes."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest

from fairseq_memtx.data.documents import (
    DocumentBatchIterator,
    DocumentDataset,
    LanePlan,
    batch_columns,
    lane_rows,
    read_documents,
)
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.lanes import BatchLimits
from tests.fairseq_memtx.document_training import TRAIN, make_documents, task_and_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_documents(tmp_path_factory.mktemp("documents"))


def iterator_of(
    data: Path, ranks: tuple[int, int] = (1, 0), seed: int | None = 1, unroll: int = 1, **settings
):
    task, _ = task_and_model(data, "transformer-xl")
    task.load_dataset("train")
    documents = read_documents(data / "train.docid", sum(TRAIN))
    plan = LanePlan(BatchLimits(3), 5, seed, ranks, unroll)
    dataset = DocumentDataset(task.dataset("train"), documents)
    return DocumentBatchIterator(dataset, plan, lambda state: None, **settings)


def rows_of(iterator) -> list[list[tuple[int, int, int]]]:
    """The lane, sentence and previous sentence of each row, for each batch of the next epoch."""
    batches = iterator.next_epoch_itr()
    return [[tuple(row) for row in lane_rows(batch)] if batch else [] for batch in batches]


def test_ids_are_read_and_their_absence_is_told(tmp_path, caplog) -> None:
    (tmp_path / "a.docid").write_text("x\nx\n\ny\n")
    assert read_documents(tmp_path / "a.docid", 4).bounds.tolist() == [0, 2, 3, 4]
    with caplog.at_level(logging.INFO):
        assert len(read_documents(tmp_path / "b.docid", 3)) == 3
    assert "each sentence is a document of its own" in caplog.text


def test_ids_of_other_data_are_refused(tmp_path) -> None:
    (tmp_path / "a.docid").write_text("x\nx\n")
    with pytest.raises(UserError, match="has 2 lines instead of one for each of the 3 pairs"):
        read_documents(tmp_path / "a.docid", 3)
    (tmp_path / "a.docid").write_bytes(b"\xff\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        read_documents(tmp_path / "a.docid", 1)


def test_a_batch_knows_the_lane_of_each_of_its_sorted_rows(data) -> None:
    iterator = iterator_of(data)
    for batch in iterator.next_epoch_itr():
        assert [row.sentence for row in lane_rows(batch)] == batch["id"].tolist()
        assert batch["net_input"]["src_lengths"].diff().le(0).all()


def test_each_epoch_has_an_order_of_its_own_that_never_changes(data) -> None:
    one, other = iterator_of(data), iterator_of(data)
    first, second = rows_of(one), rows_of(one)
    assert first != second
    assert [rows_of(other), rows_of(other)] == [first, second]
    assert rows_of(iterator_of(data, epoch=2)) == second
    assert rows_of(iterator_of(data, seed=2)) != first
    in_order = iterator_of(data, seed=None)
    assert rows_of(in_order) == rows_of(in_order)


def test_lanes_that_advance_by_several_sentences_come_in_columns(data) -> None:
    iterator, read = iterator_of(data, unroll=3), []
    epochs: list[dict[int, int]] = []
    for _ in range(2):
        first_turns: dict[int, int] = {}
        for batch in iterator.next_epoch_itr():
            columns = [lane_rows(column) for column in batch_columns(batch)]
            assert 1 <= len(columns) <= 3
            assert [row.sentence for row in columns[0]] == batch["id"].tolist()
            for before, column in itertools.pairwise(columns):
                last = {row.lane: row.sentence for row in before}
                assert all(last[row.lane] == row.previous for row in column)
            read += [row.sentence for column in columns for row in column]
            for row in columns[0]:
                if row.previous < 0:
                    turn = [other for column in columns for other in column]
                    first_turns[row.sentence] = [other.lane for other in turn].count(row.lane)
        epochs.append(first_turns)
    assert sorted(read) == sorted(2 * list(range(sum(TRAIN))))
    assert epochs[0].keys() == epochs[1].keys() and epochs[0] != epochs[1]


def test_workers_change_nothing(data) -> None:
    expected = rows_of(iterator_of(data))
    assert rows_of(iterator_of(data, num_workers=2, buffer_size=3)) == expected


@pytest.mark.slow
def test_it_goes_on_in_the_middle_of_a_later_epoch(data) -> None:
    whole = iterator_of(data)
    rows_of(whole)
    expected, state = [], None
    for number, batch in enumerate(whole.next_epoch_itr()):
        if number == 4:
            state = whole.state_dict()
        if number > 4:
            expected.append(lane_rows(batch))
    again = iterator_of(data)
    assert len(again.first_batch["lanes"]) == 3  # fairseq looks at it before it goes on
    again.load_state_dict(state)
    assert [lane_rows(batch) for batch in again.next_epoch_itr()] == expected


@pytest.mark.slow
def test_ranks_read_documents_of_their_own_in_as_many_batches(data) -> None:
    found = [rows_of(iterator_of(data, (3, rank))) for rank in range(3)]
    assert len({len(batches) for batches in found}) == 1
    sentences = [sorted(row[1] for batch in own for row in batch) for own in found]
    assert sorted(n for own in sentences for n in own) == list(range(sum(TRAIN)))
    of_document = np.repeat(np.arange(len(TRAIN)), TRAIN)
    documents = [set(of_document[own].tolist()) for own in sentences]
    assert not documents[0] & documents[1] and not documents[1] & documents[2]


def test_the_share_of_slots_with_words_is_told(data, caplog) -> None:
    with caplog.at_level(logging.INFO):
        rows_of(iterator_of(data))
    assert "11 documents of 51 sentences in 17 batches (3.0 sentences each, 5 lanes" in caplog.text
    assert "tokens a slot of a batch" in caplog.text
