"""When a step is done, recorded and replayed."""

import logging

import pytest

from fairseq_memtx.decoding.gpu.step_graphs import StepGraphs


class Notes:
    """A recorder that tells what it was asked for."""

    def __init__(self, error: Exception | None = None):
        self.done: list[str] = []
        self.error = error

    def rehearse(self, work):
        self.done.append("rehearsed")
        work()

    def record(self, work):
        self.done.append("recorded")
        if self.error is not None:
            raise self.error
        return lambda: (self.done.append("replayed"), work())

    def has_room(self):
        return True


def test_a_form_is_rehearsed_then_recorded_then_replayed():
    recorder, calls = Notes(), []
    graphs = StepGraphs(recorder)
    for number in range(4):
        graphs.replay("a", lambda: calls.append("a"))
        assert len(calls) == number + 1
    assert recorder.done == ["rehearsed", "recorded", "replayed", "replayed", "replayed"]
    graphs.replay("b", lambda: calls.append("b"))
    assert recorder.done[-1] == "rehearsed" and calls[-1] == "b"


def test_the_least_recently_used_recording_is_dropped():
    recorder = Notes()
    graphs = StepGraphs(recorder, max_recordings=2)
    for form in "aabbacc":  # c takes the place of b
        graphs.replay(form, int)
    assert sorted(graphs.recordings) == ["a", "c"]


def test_what_is_forgotten_is_rehearsed_again():
    recorder = Notes()
    graphs = StepGraphs(recorder)
    for _ in range(2):
        graphs.replay("a", int)
        graphs.replay("a", int)
        graphs.forget()
        assert not graphs.recordings
    assert recorder.done == ["rehearsed", "recorded", "replayed"] * 2


def test_after_a_failure_nothing_is_recorded_and_every_step_is_done(caplog):
    recorder, calls = Notes(RuntimeError("not permitted")), []
    graphs = StepGraphs(recorder)
    for _ in range(4):
        graphs.replay("a", lambda: calls.append(1))
    assert len(calls) == 4 and recorder.done == ["rehearsed", "recorded"]
    (line,) = (x for x in caplog.records if x.levelno == logging.WARNING)
    assert line.getMessage() == "no step will be replayed, decoding is slower: not permitted"


def test_other_errors_are_not_swallowed():
    graphs = StepGraphs(Notes(ValueError("a mistake")))
    graphs.replay("a", int)
    with pytest.raises(ValueError, match="a mistake"):
        graphs.replay("a", int)
