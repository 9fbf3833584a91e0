"""Replayed loops against the reference, on the CPU with recorded operations: float64, all options.

What a GPU adds to this is the capture alone; see `test_cuda_graphs`.
"""

import gc
import logging
import weakref
from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from fairseq_memtx.compute import onednn
from fairseq_memtx.engine import ENGINES, Recurrence, RecurrenceOutput
from fairseq_memtx.engine import memory_reads as reads_room
from fairseq_memtx.engine import tape as tape_room
from fairseq_memtx.engine.gpu import recording
from tests.choosing import some
from tests.fairseq_memtx.engine.cases import CASES, random_case
from tests.fairseq_memtx.engine.gpu.replays import (
    SMALL,
    Replays,
    check_replay,
    next_batch,
    of_size,
    ready,
)
from tests.fairseq_memtx.engine.operation_recorder import OperationRecorder
from tests.fairseq_memtx.engine.stacks import (
    Case,
    Stack,
    check_frozen,
    check_stack,
    gradients,
    random_loss,
)

manual, reference = ENGINES["manual"], ENGINES["reference"]


@pytest.mark.parametrize("name", some(sorted(set(CASES) - {"all layers dropped"}), 4))
def test_a_recording_serves_other_data_and_other_weights(name):
    check_replay(replace(CASES[name], dropout=0.3))


@pytest.mark.parametrize("seed", [6, 9, 14])
def test_any_options_together_equal_the_reference(seed):
    check_replay(replace(random_case(seed), dropped=frozenset()))


@pytest.mark.parametrize("name", ["left padding", "relative positions", "carried"])
def test_windows_need_no_empty_entries(name, monkeypatch):
    """As on an accelerator."""
    monkeypatch.setattr(reads_room, "MIN_WIDTH", 0)
    check_replay(CASES[name])


def test_gradients_may_be_summed_in_chunks(monkeypatch):
    monkeypatch.setitem(tape_room.CHUNK_ROWS, "cpu", 24)
    check_replay(replace(SMALL, length=13, pre_norm=True))


def test_a_replay_asks_nothing_of_the_masks():
    """The first masks leave every query a key; the second hide all of a row, the third nothing."""
    stack, engine = Stack(replace(SMALL, padding=None, source_padding=False)), ready()
    target, source = torch.zeros(3, 5, dtype=torch.bool), torch.zeros(3, 4, dtype=torch.bool)
    for hidden in (torch.tensor(1), torch.arange(4), torch.tensor([], dtype=torch.long)):
        target[1], source[1] = False, False
        target[1, hidden], source[1, hidden] = True, True

        def mask(r: Recurrence) -> Recurrence:
            sources = [x._replace(padding_mask=source.clone()) for x in r.sources]
            return replace(r, padding_mask=target.clone(), sources=sources)

        check_stack(stack, engine, change=mask)
    assert engine.recorder.recordings == 2


SIZES = [(6, 8, 4), (5, 3, 2), (6, 1, 3), (5, 8, 1)]


@pytest.mark.parametrize("sizes", [SIZES, SIZES[::-1]])
def test_batches_of_similar_sizes_share_a_recording(sizes):
    stack, engine = Stack(Case(length=6, batch=8)), ready()
    for size in sizes:
        check_stack(stack, engine, change=of_size(*size))
    assert engine.recorder.recordings == 2 and len(engine.recordings) == 1


def test_an_overflow_in_one_batch_does_not_reach_the_next():
    stack, engine = Stack(Case(length=6, batch=8)), ready()
    batch = of_size(6, 8, 4)(stack.recurrence())
    infinite = [x._replace(keys=x.keys * float("inf")) for x in batch.sources]
    out = engine(replace(batch, inputs=batch.inputs * float("inf"), sources=infinite))
    random_loss(out).backward()
    assert stack.layers[0].fc1.weight.grad.isnan().any()
    check_stack(stack, engine, change=of_size(5, 3, 2))
    assert len(engine.recordings) == 1


def test_a_form_runs_step_by_step_until_it_comes_again():
    stack, engine = Stack(SMALL), Replays()
    for _ in range(4):
        check = gradients(engine(stack.recurrence()).states[-1].square().sum(), stack)
        want = gradients(reference(stack.recurrence()).states[-1].square().sum(), stack)
        for name, grad in want.items():
            torch.testing.assert_close(check[name], grad)
    assert engine.recorder.rehearsals == 1 and engine.recorder.recordings == 2
    assert engine.recorder.replays == 6


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_graphs_alive_at_once_do_not_disturb_each_other(order):
    stack, engine = Stack(SMALL), ready()
    check_stack(stack, engine)
    want = [gradients(random_loss(reference(stack.recurrence()), s), stack) for s in (1, 2)]
    losses = [random_loss(engine(stack.recurrence()), seed) for seed in (1, 2)]
    for i in order:
        for name, grad in gradients(losses[i], stack).items():
            torch.testing.assert_close(grad, want[i][name])
    assert engine.recorder.replays == 4  # the second forward found the memory in use
    check_stack(stack, engine)
    assert engine.recorder.replays == 6


def test_a_forward_without_gradient_does_not_disturb_a_graph():
    stack, engine = Stack(SMALL), ready()
    with torch.no_grad():
        engine(stack.recurrence())
    want = gradients(random_loss(reference(stack.recurrence())), stack)
    loss = random_loss(engine(stack.recurrence()))
    replays = engine.recorder.replays
    with torch.no_grad():
        engine(stack.recurrence())
    assert engine.recorder.replays == replays
    for name, grad in gradients(loss, stack).items():
        torch.testing.assert_close(grad, want[name])


def test_a_graph_that_is_dropped_gives_the_memory_free():
    stack, engine = Stack(SMALL), ready()
    out = engine(stack.recurrence())
    assert engine._live() is not None
    gc.disable()
    try:
        del out
        assert engine._live() is None
    finally:
        gc.enable()
    check_stack(stack, engine)
    assert engine.recorder.replays == 3


def test_gradients_accumulate_over_batches():
    found = []
    for engine in (ready(), reference):
        stack = Stack(SMALL)
        for seed in range(3):
            stack.draw()
            random_loss(engine(stack.recurrence()), seed).backward()
        found.append({n: p.grad for n, p in stack.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, grad in found[1].items():
        torch.testing.assert_close(found[0][name], grad)


def test_weights_may_move():
    """To other places, where old recordings would not find them."""
    stack, engine = Stack(SMALL), ready(max_recordings=2)
    for _ in range(4):
        check_stack(stack, engine)
        for parameter in stack.parameters():
            parameter.data = parameter.data.clone().add_(0.1)
    assert engine.recorder.recordings == 8
    assert len(engine.recordings) == 2


def test_a_model_that_is_gone_is_not_kept():
    stack, engine = Stack(SMALL), ready()
    check_stack(stack, engine)
    layer = weakref.ref(stack.layers[0])
    del stack
    gc.collect()
    assert layer() is None


def test_the_least_recently_used_recording_is_dropped():
    stack, engine = Stack(Case(length=12, batch=2)), ready(max_recordings=2)
    for length in (12, 8, 12, 4, 12):  # 4 takes the place of 8
        check_stack(stack, engine, change=of_size(length, 2, 4))
    assert engine.recorder.recordings == 6 and len(engine.recordings) == 2
    check_stack(stack, engine, change=of_size(8, 2, 4))
    assert engine.recorder.recordings == 8


def test_more_forms_than_places_do_not_keep_the_engine_recording():
    stack, engine = Stack(Case(length=12, batch=2)), ready(max_recordings=1, replays_to_pay=2)
    for length, recordings in ((12, 2), (8, 2), (12, 2), (8, 2), (12, 2), (8, 4)):
        check_stack(stack, engine, change=of_size(length, 2, 4))
        assert engine.recorder.recordings == recordings


def test_a_device_without_room_has_its_recordings_replaced():
    stack, engine = Stack(Case(length=12, batch=2)), ready()
    for length, room, kept in ((12, True, 1), (8, True, 2), (6, False, 2), (4, True, 3)):
        engine.recorder.room = room
        check_stack(stack, engine, change=of_size(length, 2, 4))
        assert len(engine.recordings) == kept


def test_waiting_for_a_backward_is_told_once(caplog):
    caplog.set_level(logging.INFO)
    stack, engine = Stack(SMALL), ready()
    outs = [engine(stack.recurrence()) for _ in range(3)]
    (line,) = (x.getMessage() for x in caplog.records)
    assert "awaits its backward" in line and len(outs) == 3


def test_recordings_share_one_memory_which_grows():
    stack, engine = Stack(Case(length=16, batch=2)), ready()
    for length, kept in ((14, 1), (16, 2), (12, 3)):  # the second fits into the headroom
        check_stack(stack, engine, change=of_size(length, 2, 4))
        assert len(engine.recordings) == kept
    places = {x._inputs["inputs"].data_ptr() for x in engine.recordings.values()}
    assert len(places) == 1
    engine.drop_all()
    for length, kept in ((4, 1), (16, 1), (4, 2)):
        check_stack(stack, engine, change=of_size(length, 2, 4))
        assert len(engine.recordings) == kept


def test_gradients_that_were_not_expected_are_right_and_then_expected():
    stack, engine = Stack(SMALL), Replays(record_at=1)
    for replays in (1, 3, 5):  # the first backward runs the loops once more
        check_stack(stack, engine)
        assert engine.recorder.replays == replays
    assert engine.recorder.recordings == 4


def test_fewer_gradients_than_expected_are_right():
    stack, engine = Stack(replace(SMALL, layers=3)), ready()
    check_stack(stack, engine)
    for chosen in ([3], [1], [0, 2]):
        losses = [
            sum(run(stack.recurrence()).states[i].square().sum() for i in chosen)
            for run in (engine, reference)
        ]
        got, want = (gradients(loss, stack) for loss in losses)
        for name, grad in want.items():
            torch.testing.assert_close(got[name], grad)
    assert engine.recorder.replays == 8


def test_a_retained_graph_gives_the_same_gradients_again():
    stack, engine = Stack(SMALL), ready()
    check_stack(stack, engine)
    loss = random_loss(engine(stack.recurrence()))
    first = torch.autograd.grad(loss, stack.layers[0].fc1.weight, retain_graph=True)
    check_stack(stack, engine)  # overwrites what was replayed
    again = torch.autograd.grad(loss, stack.layers[0].fc1.weight)
    torch.testing.assert_close(again, first)


@pytest.mark.parametrize("frozen", ["inputs", "encoder_out", "fc1", "memory", "layer_norm"])
def test_frozen_weights_have_no_gradient_and_the_others_keep_theirs(frozen):
    stack, engine = Stack(Case(pre_norm=True)), ready()
    check_stack(stack, engine)
    check_frozen(stack, engine, frozen)
    assert engine.recorder.replays == 4


def test_a_weight_changed_before_the_backward_is_an_error():
    stack, engine = Stack(SMALL), ready()
    loss = random_loss(engine(stack.recurrence()))
    with torch.no_grad():
        stack.layers[0].fc1.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_gives_the_same_gradients(reentrant):
    stack, engine = Stack(SMALL), ready()

    def states(inputs):
        return torch.stack(engine(replace(stack.recurrence(), inputs=inputs)).states)

    for _ in range(2):
        stack.zero_grad()
        out = checkpoint(states, stack.inputs, use_reentrant=reentrant)
        random_loss(RecurrenceOutput(list(out), None)).backward()
        expected = reference(stack.recurrence())._replace(cross_probs=None)
        want = gradients(random_loss(expected), stack)
        for name, parameter in stack.named_parameters():
            if not name.startswith("encoder_attn"):
                torch.testing.assert_close(parameter.grad, want[name])
    assert engine.recorder.replays > 0


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_is_the_manual_engines(autocast, monkeypatch):
    """Also the weights' copies in lower precision are made anew by a replay."""
    monkeypatch.setattr(onednn, "packing_works", lambda: False)
    dtype = torch.float32 if autocast else torch.bfloat16
    stack, engine = Stack(Case(length=6, batch=8, dropout=0.1, dtype=dtype)), ready()
    for seed in range(2):
        next_batch(stack, seed)
        stack.masks = [type(masks)(*(x.to(dtype) for x in masks)) for masks in stack.masks]
        found = []
        for run in (engine, manual):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                out = run(stack.recurrence())
            found.append((out.states[-1], gradients(random_loss(out), stack)))
        torch.testing.assert_close(found[0][0], found[1][0], rtol=0.02, atol=0.02)
        for name, grad in found[1][1].items():
            assert (found[0][1][name] - grad).norm() <= 0.02 * grad.norm() + 0.1, name
    assert engine.recorder.replays == 4


class Failing(OperationRecorder):
    """Cannot record a second time."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def record(self, work):
        if self.recordings == 2:
            self.recordings += 1
            raise self.error
        return super().record(work)


def test_without_memory_for_a_form_only_the_others_are_recorded(caplog):
    stack, engine = Stack(Case(length=12, batch=2)), ready()
    engine.recorder = Failing(torch.OutOfMemoryError("too little memory"))
    for length in (6, 12, 12, 6, 6):
        check_stack(stack, engine, change=of_size(length, 2, 4))
    assert engine.recorder.replays == 6 and len(engine.recordings) == 1
    (line,) = warnings_in(caplog)
    assert "'T': 12" in line and line.endswith("too little memory")


def test_where_nothing_can_be_recorded_all_goes_step_by_step(caplog):
    stack, engine = Stack(Case(length=12, batch=2)), ready()
    engine.recorder = Failing(RuntimeError("operation not permitted"))
    for length in (6, 12, 6, 12):
        check_stack(stack, engine, change=of_size(length, 2, 4))
    assert engine.recorder.replays == 2 and not engine.recordings
    (line,) = warnings_in(caplog)
    assert line.startswith("nothing will be replayed") and "not permitted" in line


def warnings_in(caplog) -> list[str]:
    return [x.getMessage() for x in caplog.records if x.levelno == logging.WARNING]


def test_data_that_is_not_written_anew_would_be_noticed(monkeypatch):
    """Negative control."""
    stack, engine = Stack(SMALL), ready()
    check_stack(stack, engine)
    monkeypatch.setattr(recording, "fill", lambda *args: None)
    next_batch(stack, 0)
    with pytest.raises(AssertionError, match="not close"):
        check_stack(stack, engine)


def test_a_question_to_the_data_would_be_noticed(monkeypatch):
    """Negative control."""
    make_tape = tape_room.Tape.__init__

    def asking(self, *args):
        make_tape(self, *args)
        self.may_ask = True

    monkeypatch.setattr(tape_room.Tape, "__init__", asking)
    with pytest.raises(AssertionError, match=r"_local_scalar_dense.* cannot be recorded"):
        check_stack(Stack(SMALL), ready())
