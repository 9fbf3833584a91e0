"""The device's search against fairseq's generator, on the CPU with recorded steps, and on a GPU.

What a GPU adds is the capture alone; see `engine.test_cuda_graphs` for its rules.
"""

import itertools
import logging

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator

from fairseq_memtx.decoding import device_search, search_state
from fairseq_memtx.generation.generator import FastGenerator
from fairseq_memtx.generation.graph_searches import GraphSearches
from tests.fairseq_memtx.engine.operation_recorder import OperationRecorder
from tests.fairseq_memtx.generation.test_generator import BATCHES, MODELS, WAYS, both
from tests.fairseq_memtx.test_generation import DICTIONARY, same_hypotheses, sample
from tests.fairseq_memtx.tiny import build_model

# Else searches of a few words would never need more room, nor sentences move together.
SMALL = {"B": 1, "T": 4, "S": 3}


class StepRecorder(OperationRecorder):
    """Does not change the state when it records, as a GPU does not."""

    def record(self, work):
        state = work.__self__.state
        before = [x.clone() for x in state]
        replay = super().record(work)
        for x, was in zip(state, before, strict=True):
            x.copy_(was)
        return replay


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    monkeypatch.setattr(search_state, "LEAST_STEP", SMALL)
    monkeypatch.setattr(device_search, "ASKS_EVERY", 3)


def on_device(recorder=None) -> GraphSearches:
    """Searches with a recorder that is at hand as `made`."""
    made = recorder or StepRecorder()
    searches = GraphSearches(lambda device: made, "cpu")
    searches.made = made
    return searches


def final(architecture="memtx_feedback", **settings):
    model = build_model(architecture, **settings)
    model.make_generation_fast_()
    return model


def check(model, batch, searches=None, **how):
    searches = searches or on_device()
    with pytest.MonkeyPatch.context() as patch:
        init = FastGenerator.__init__
        patch.setattr(
            FastGenerator, "__init__", lambda *a, **k: init(*a, graphs=searches, **k)
        )
        got, want = both([model], batch, **how)
    same_hypotheses(got, want)
    assert searches.decoder is not None
    return searches


HERE = [way for way in WAYS if way not in ("source length", "no repeated pair")]


@pytest.mark.parametrize("way", HERE)
@pytest.mark.parametrize("name", ["transformer", "feedback"])
def test_it_finds_what_fairseqs_generator_finds(name, way):
    for number, beam_size in enumerate((1, 2, 5)):
        model = final(
            MODELS[name][0],
            seed=number + 1,
            decoder_layers=1 + number % 2,
            decoder_normalize_before=bool(number % 2),
        )
        searches = on_device()
        for lengths in BATCHES:
            check(model, sample(lengths), searches, beam_size=beam_size, **WAYS[way])
        assert searches.made.replays > 0
