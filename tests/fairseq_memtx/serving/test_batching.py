"""Requests share batches: each gets its own, in order, whatever becomes of the others."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import pytest

from fairseq_memtx.serving.batching import BusyError, ClosedError, SharedBatches, Wish
from fairseq_memtx.serving.limits import RequestLimits
from fairseq_memtx.translation.results import Translation


class Search:
    """Translates into capitals, and remembers its batches; holds each until `go` is set."""

    def __init__(self) -> None:
        self.batches: list[tuple[Wish, list[str]]] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()

    def __call__(self, wish: Wish, lines: Sequence[str]) -> list[list[Translation]]:
        self.batches.append((wish, list(lines)))
        self.begun.set()
        self.go.wait(10)
        if "bad" in lines:
            raise ValueError("bad line")
        return [[Translation(line.upper(), 0.0)] * wish.nbest for line in lines]


@pytest.fixture
def search() -> Search:
    return Search()


Start = Callable[..., SharedBatches]


@pytest.fixture
def start(search: Search) -> Iterator[Start]:
    made: list[SharedBatches] = []

    def starting(**limits: float) -> SharedBatches:
        made.append(SharedBatches(search, RequestLimits(**{"window": 0.0, **limits})))  # type: ignore[arg-type]
        return made[-1]

    yield starting
    search.go.set()
    for one in made:
        one.close()


def texts(future: Future) -> list[list[str]]:
    return [[one.text for one in found] for found in future.result(10)]


def held(search: Search, batches: SharedBatches) -> Future:
    """A request that is being searched, so that what comes now has to wait."""
    search.go.clear()
    search.begun.clear()
    first = batches.translate(Wish(), ["first"])
    assert search.begun.wait(10)
    return first


def test_what_waits_and_asks_for_the_same_is_one_batch(search: Search, start: Start) -> None:
    batches = start()
    first = held(search, batches)
    a = batches.translate(Wish(), ["a", "b"])
    wide = batches.translate(Wish(beam=8, nbest=2), ["c"])
    d = batches.translate(Wish(), ["d"])
    empty = batches.translate(Wish(), [])
    search.go.set()
    assert texts(first) == [["FIRST"]]
    assert texts(a) == [["A"], ["B"]] and texts(d) == [["D"]] and texts(empty) == []
    assert texts(wide) == [["C", "C"]]
    assert [lines for _, lines in search.batches] == [["first"], ["a", "b", "d"], ["c"]]


def test_a_batch_has_no_more_lines_than_the_limit(search: Search, start: Start) -> None:
    batches = start(batch=3)
    held(search, batches)
    futures = [batches.translate(Wish(), [name, name]) for name in "abc"]
    search.go.set()
    assert [texts(future) for future in futures] == [[[x], [x]] for x in "ABC"]
    assert [len(lines) for _, lines in search.batches] == [1, 2, 2, 2]


def test_company_is_waited_for(search: Search, start: Start) -> None:
    batches = start(window=0.2)
    futures = [batches.translate(Wish(), [name]) for name in "ab"]
    assert [texts(future) for future in futures] == [[["A"]], [["B"]]]
    assert [lines for _, lines in search.batches] == [["a", "b"]]


def test_a_request_that_fails_harms_no_other(search: Search, start: Start) -> None:
    batches = start()
    held(search, batches)
    good, bad, other = (batches.translate(Wish(), [line]) for line in ("good", "bad", "other"))
    search.go.set()
    assert texts(good) == [["GOOD"]] and texts(other) == [["OTHER"]]
    with pytest.raises(ValueError, match="bad line"):
        bad.result(10)
    assert batches.is_alive


def test_what_is_cancelled_while_it_waits_is_not_searched(search: Search, start: Start) -> None:
    batches = start(waiting=3)
    held(search, batches)
    gone = batches.translate(Wish(), ["x", "y", "z"])
    with pytest.raises(BusyError):
        batches.translate(Wish(), ["a"])
    assert gone.cancel()
    kept = batches.translate(Wish(), ["a", "b", "c"])
    search.go.set()
    assert texts(kept) == [["A"], ["B"], ["C"]]
    with pytest.raises(CancelledError):
        gone.result(10)
    assert "x" not in [line for _, lines in search.batches for line in lines]


def test_other_work_has_its_turn_alone(search: Search, start: Start) -> None:
    batches = start()
    held(search, batches)
    before, work = batches.translate(Wish(), ["a"]), batches.alone(threading.current_thread)
    after = batches.translate(Wish(), ["b"])
    search.go.set()
    assert work.result(10).name == "memtx-search"
    assert texts(before) == [["A"]] and texts(after) == [["B"]]


def test_closing_finishes_what_waits_and_takes_no_more(search: Search, start: Start) -> None:
    batches = start()
    held(search, batches)
    waits = batches.translate(Wish(), ["a"])
    closing = threading.Thread(target=batches.close)
    closing.start()
    while batches.is_alive:
        time.sleep(0.01)
    with pytest.raises(ClosedError):
        batches.translate(Wish(), ["b"])
    search.go.set()
    closing.join(10)
    assert texts(waits) == [["A"]]


def test_many_at_once_lose_nothing(search: Search, start: Start) -> None:
    batches, found = start(batch=7), {}

    def client(number: int) -> None:
        for turn in range(20):
            lines = [f"c{number} t{turn} l{line}" for line in range(1 + turn % 4)]
            found[number, turn] = (lines, texts(batches.translate(Wish(), lines)))

    clients = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(30)
    assert len(found) == 160
    assert all(got == [[line.upper()] for line in lines] for lines, got in found.values())
