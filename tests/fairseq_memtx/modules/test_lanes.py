"""Documents in lanes: each sentence once, in order, in batches with little padding."""

import numpy as np
import pytest

from fairseq_memtx.modules.lanes import (
    BatchLimits,
    Documents,
    Place,
    Turns,
    columns_of,
    plan_batches,
    words_per_slot,
)


def random_documents(count: int = 60, longest: int = 12) -> tuple[Documents, np.ndarray]:
    """Documents and the length of each sentence."""
    documents = Documents.of_sizes(np.random.randint(1, longest + 1, size=count))
    return documents, np.random.randint(2, 40, size=len(documents.sentences))


@pytest.mark.parametrize("lanes", [1, 5, 100])
@pytest.mark.parametrize("limits", [BatchLimits(4), BatchLimits(None, 90), BatchLimits(6, 60)])
def test_every_document_is_read_in_order_in_one_lane(limits: BatchLimits, lanes: int) -> None:
    documents, lengths = random_documents()
    order = np.random.permutation(len(documents))
    batches = plan_batches(documents, order, lengths, limits, lanes)
    lane_of: dict[int, list[int]] = {}
    read: dict[int, list[int]] = {}
    for batch in batches:
        assert batch and len({place.lane for place in batch}) == len(batch)
        longest = max(lengths[place.sentence] for place in batch)
        assert len(batch) == 1 or limits.allow(len(batch), len(batch) * int(longest))
        for sentence, lane in batch:
            document = int(np.searchsorted(documents.bounds, sentence, "right")) - 1
            lane_of.setdefault(document, []).append(lane)
            read.setdefault(lane, []).append(sentence)
            assert 0 <= lane < lanes
    assert all(len(set(found)) == 1 for found in lane_of.values())
    assert sorted(n for own in read.values() for n in own) == documents.sentences.tolist()
    before = documents.previous(len(lengths))
    for sentences in read.values():  # a document is not interrupted by another one
        for one, following in zip([-1, *sentences], sentences, strict=False):
            assert before[following] in (-1, one)


@pytest.mark.parametrize("limits", [BatchLimits(4), BatchLimits(None, 260)])
def test_a_lane_advances_by_turns(limits: BatchLimits) -> None:
    documents, lengths = random_documents()
    first = np.random.randint(1, 4, size=len(documents))
    batches = plan_batches(
        documents, np.random.permutation(60), lengths, limits, 9, Turns(3, first)
    )
    turns: dict[int, list[list[int]]] = {}
    for batch in batches:
        columns = columns_of(batch)
        slots = sum(len(c) * max(lengths[place.sentence] for place in c) for c in columns)
        assert len(columns[0]) == 1 or limits.allow(len(columns[0]), int(slots))
        for lane in (place.lane for place in columns[0]):
            turn = [place.sentence for place in batch if place.lane == lane]
            document = int(np.searchsorted(documents.bounds, turn[0], "right")) - 1
            turns.setdefault(document, []).append(turn)
    for document, own in turns.items():
        begin, end = documents.bounds[document : document + 2].tolist()
        assert [n for turn in own for n in turn] == list(range(begin, end))
        sizes = [len(turn) for turn in own]
        assert sizes[0] == min(int(first[document]), end - begin)
        assert all(size == 3 for size in sizes[1:-1]) and sizes[-1] <= 3


def test_turns_grow_while_batches_are_planned() -> None:
    documents, lengths = random_documents()
    turns = Turns(4, np.full(len(documents), 3), lambda batch: 1 + batch // 20)
    assert [turns.first_of(0, batch) for batch in (0, 20, 40, 60)] == [1, 2, 3, 3]
    batches = plan_batches(documents, np.arange(60), lengths, BatchLimits(3), 9, turns)
    sizes = [len(columns_of(batch)) for batch in batches]
    assert set(sizes[:20]) == {1} and max(sizes[:40]) <= 2 and max(sizes) >= 3
    read = [place.sentence for batch in batches for place in batch]
    assert sorted(read) == documents.sentences.tolist()


def test_columns_are_the_sentences_of_the_lanes_in_turn() -> None:
    places = [Place(7, 2), Place(8, 2), Place(3, 0), Place(9, 2), Place(5, 1), Place(6, 1)]
    sentences = [[place.sentence for place in column] for column in columns_of(places)]
    assert sentences == [[7, 3, 5], [8, 6], [9]]
    assert columns_of([]) == []


def test_the_same_order_gives_the_same_batches_and_another_one_others() -> None:
    documents, lengths = random_documents()
    orders = [np.arange(60), np.arange(60), np.arange(60)[::-1]]
    one, same, other = (plan_batches(documents, o, lengths, BatchLimits(4), 9) for o in orders)
    assert one == same != other


def test_more_lanes_than_rows_keep_padding_low() -> None:
    documents, lengths = random_documents(400)
    order = np.random.permutation(len(documents))
    shares = [
        words_per_slot(plan_batches(documents, order, lengths, BatchLimits(8), lanes), lengths)
        for lanes in (8, 64)
    ]
    assert shares[0] < 0.7 and shares[1] > 0.9


def test_a_slot_with_a_word_counts_for_each_side() -> None:
    batches = [[Place(0, 0), Place(1, 1)], [Place(2, 0)], []]
    source, target = np.array([1, 3, 5]), np.array([2, 2, 1])
    assert words_per_slot(batches, source, target) == 14 / (6 + 4 + 5 + 1)
    two_columns = [[Place(0, 0), Place(2, 0), Place(1, 1)]]
    assert words_per_slot(two_columns, source, target) == 14 / (6 + 5 + 4 + 1)


def test_a_long_document_is_not_left_over_at_the_end() -> None:
    """A fifth of all sentences: in turn with 31 other lanes it would be far behind."""
    documents = Documents.of_sizes([240, *[10] * 96])
    lengths = np.random.randint(2, 40, size=1200)
    batches = plan_batches(documents, np.arange(97), lengths, BatchLimits(4), 32)
    assert len(batches) < 330


def test_ids_in_a_row_are_a_document_and_blank_ones_are_alone() -> None:
    documents = Documents.of_ids(["a", "a", "b", "a", "", "", "c"])
    assert documents.bounds.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert documents.previous(7).tolist() == [-1, 0, -1, -1, -1, -1, -1]
    assert len(Documents.of_ids([])) == 0


def test_a_document_goes_on_over_a_sentence_that_is_left_out() -> None:
    documents = Documents.of_sizes([3, 1, 2]).only(np.array([0, 2, 4, 5]))
    assert documents.bounds.tolist() == [0, 2, 4]
    assert documents.previous(6).tolist() == [-1, -1, 0, -1, -1, 4]


def test_ranks_share_whole_documents_evenly() -> None:
    documents, _ = random_documents()
    order = np.random.permutation(60)
    dealt = documents.shared_out(order, 3)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(60))
    loads = [int(np.diff(documents.bounds)[own].sum()) for own in dealt]
    assert max(loads) - min(loads) <= 12
    assert documents.shared_out(order, 1)[0] is order


def test_a_batch_has_to_have_a_limit() -> None:
    with pytest.raises(ValueError, match="a limit of sentences or of tokens"):
        BatchLimits()
    assert BatchLimits(None, 100).usual_rows(np.array([10, 30])) == 5
    assert BatchLimits(None, 100).usual_rows(np.array([10, 30]), unroll=2) == 2
    assert BatchLimits(3, 100).usual_rows(np.array([10, 30])) == 3
