"""CUDA graphs: what can be told without a GPU, and the tests on one (`pytest -m gpu`).

The loops themselves are tested in `test_replay`, with a recorder for the CPU.
"""

import gc
import logging
from dataclasses import replace
from functools import partial
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fairseq_memtx.engine import ENGINES
from fairseq_memtx.engine.gpu import cuda_graphs
from fairseq_memtx.engine.gpu.arena import Counter
from fairseq_memtx.engine.gpu.cuda_graphs import CudaRecorder
from fairseq_memtx.engine.gpu.recording import FixedRun
from fairseq_memtx.engine.gpu.replay import Replayer
from fairseq_memtx.engine.gpu.rounded_sizes import Batch
from fairseq_memtx.engine.manual import run_manual
from tests.choosing import some
from tests.fairseq_memtx.engine.cases import CASES
from tests.fairseq_memtx.engine.gpu.replays import next_batch, of_size
from tests.fairseq_memtx.engine.stacks import Case, Stack, check_stack, gradients, random_loss
from tests.fairseq_memtx.tiny_training import TINY, make_data, run_training
from tests.gpu import gpu

manual, reference, graphs = (ENGINES[name] for name in ("manual", "reference", "cuda-graphs"))


def test_without_a_gpu_the_manual_engine_runs_and_that_is_said_once(caplog):
    cuda_graphs._say_once.cache_clear()
    stack = Stack(Case())
    for _ in range(2):
        check_stack(stack, graphs)
    (line,) = (x for x in caplog.records if x.levelno == logging.WARNING)
    assert line.getMessage() == "the engine cuda-graphs needs a GPU: on cpu the manual engine runs"


# Every kind of work that a recording can hold, and the dtype of its products.
WORK = {
    "pre-norm, autocast": (Case(pre_norm=True, dropout=0.3, dtype=torch.float32), torch.bfloat16),
    "per-layer, left padding": (
        Case(memory={"shared_kv": False}, padding="left", dropout=0.3, dtype=torch.bfloat16),
        torch.bfloat16,
    ),
    "routed channels, a layer dropped": (
        Case(layers=3, memory={"mixture": "routed", "channels": 2}, dropped=frozenset({1})),
        torch.float64,
    ),
    "no padding": (Case(padding=None, source_padding=False, dtype=torch.float32), torch.float32),
    "carried, relative positions": (
        Case(memory={"num_distances": 3, "span": 4}, carried=3, anew=True, dropped=frozenset({0})),
        torch.float64,
    ),
}


@pytest.mark.parametrize("name", some(WORK, 4))
def test_the_recorded_work_never_leaves_the_device(name):
    """On tensors without data: nothing is asked of them, and none is made on the host."""
    case, product = WORK[name]
    batch = batch_of(Stack(case))
    with FakeTensorMode(), torch.no_grad():
        moving = {n: without_data(x) for n, x in batch.moving.items()}
        batch.weights = {
            n: moving[n] if n in moving else without_data(x) for n, x in batch.weights.items()
        }
        recurrence, weights = batch.on(moving)
        for keep in (True, False):
            fake = Batch(recurrence, weights, product, keep)
            fake.wanted = set(weights)
            run = FixedRun(fake, frozenset(range(-9, 1)), Counter().make)
            run.all()
            assert {x.device.type for x in [*run.states, *run.grads.values()]} == {"meta"}
            assert len(run.grads) > 20 or not keep


@torch.no_grad()
def batch_of(stack: Stack) -> Batch:
    """The batch that the engine gets, where a backward may follow."""
    seen = []

    def begin(r, weights, dtype, keep):
        seen.append(Batch(r, weights, dtype, True))
        return None, [r.inputs] * (len(r.layers) + 1), None

    run_manual(stack.recurrence(), begin)
    return seen[0]


def without_data(x: Tensor) -> Tensor:
    shape, strides = tuple(x.shape), tuple(x.stride())
    return torch.empty_strided(shape, strides, dtype=x.dtype, device="meta")


def test_a_host_tensor_in_the_recorded_work_would_be_noticed():
    """Negative control."""
    with FakeTensorMode():
        x = torch.empty(2, 3, device="meta")
        for wrong in (lambda: x[[0, 1]], lambda: x + torch.empty(3), lambda: bool(x.any())):
            with pytest.raises((AssertionError, RuntimeError)):
                wrong()


TORCHS = (
    "Stream", "CUDAGraph", "graph", "graph_pool_handle", "stream", "current_stream", "set_stream",
    "device", "mem_get_info", "memory_reserved", "memory_allocated",
)  # fmt: skip


@pytest.fixture
def stand_ins(monkeypatch):
    """What has the signatures of torch's functions and does nothing."""
    made = {name: mock.create_autospec(getattr(torch.cuda, name)) for name in TORCHS}
    made["graph"].return_value = mock.MagicMock()
    made["graph"].return_value.__exit__.return_value = None
    made["device"].return_value = mock.MagicMock()
    made["device"].return_value.__exit__.return_value = None
    for name, stand_in in made.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return made


def test_captures_share_a_stream_and_a_pool_and_are_left_alone(stand_ins):
    seen: list[bool] = []
    recorder = CudaRecorder(torch.device("cpu"))
    replay = recorder.record(lambda: seen.append(gc.isenabled()))
    recorder.rehearse(lambda: seen.append(gc.isenabled()))
    assert seen == [False, True] and gc.isenabled()
    assert replay == stand_ins["CUDAGraph"].return_value.replay
    assert stand_ins["graph_pool_handle"].call_count == 1
    captures = stand_ins["graph"].call_args_list
    assert len(captures) == 2  # the first keeps the pool open
    for call in captures:
        assert call.kwargs == {
            "pool": stand_ins["graph_pool_handle"].return_value,
            "stream": stand_ins["Stream"].return_value,
            "capture_error_mode": "thread_local",
        }
    current, own = stand_ins["current_stream"].return_value, stand_ins["Stream"].return_value
    own.wait_stream.assert_called_once_with(current)
    current.wait_stream.assert_called_once_with(own)


def test_a_capture_that_fails_leaves_the_stream_as_it_was(stand_ins):
    recorder = CudaRecorder(torch.device("cpu"))
    stand_ins["graph"].return_value.__exit__.side_effect = RuntimeError("capture invalidated")
    with pytest.raises(RuntimeError, match="invalidated"):
        recorder.record(lambda: None)
    stand_ins["set_stream"].assert_called_once_with(stand_ins["current_stream"].return_value)
    assert gc.isenabled()


@pytest.mark.parametrize("free, room", [(30, True), (5, True), (1, False)])
def test_graphs_leave_a_part_of_the_memory_free(stand_ins, free, room):
    stand_ins["mem_get_info"].return_value = free, 100
    stand_ins["memory_reserved"].return_value, stand_ins["memory_allocated"].return_value = 60, 53
    assert CudaRecorder(torch.device("cpu")).has_room() is room


def on_gpu(**settings) -> Replayer:
    """An engine that captures a form at its first sight, with gradients of all outputs."""
    engine = Replayer(partial(CudaRecorder, torch.device("cuda")), record_at=1, **settings)
    engine._expect(frozenset(range(-9, 1)))
    return engine


def replays_of(engine: Replayer, stack: Stack, batches: int = 3, **close) -> None:
    """Captured once, then replayed with other data and other weights."""
    for seed in range(batches):
        next_batch(stack, seed)
        check_stack(stack, engine, **close)
    assert len(engine.recordings) == 1 and not engine._broken


@gpu
@pytest.mark.parametrize("name", sorted(set(CASES) - {"all layers dropped"}))
def test_values_and_gradients_equal_the_reference_in_float64(name):
    replays_of(on_gpu(), Stack(replace(CASES[name], dropout=0.3, device="cuda")))


LARGER = Case(
    layers=3, length=20, batch=16, dim=64, ffn_dim=128, heads=4, dropout=0.1, device="cuda"
)


def relative_errors(engine, stack: Stack, exact, autocast: bool) -> dict[str, float]:
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        out = engine(stack.recurrence())
    found = gradients(random_loss(out), stack)
    return {n: float((found[n] - x).norm() / (x.norm() + 1)) for n, x in exact.items()}


@gpu
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, "autocast"])
def test_errors_of_lower_precisions_are_those_of_the_reference(dtype, pre_norm):
    autocast = dtype == "autocast"
    case = Case(length=20, dim=32, ffn_dim=48, dropout=0.1, pre_norm=pre_norm, device="cuda")
    stack, engine = Stack(case), on_gpu()
    lower = torch.float32 if autocast else dtype
    for _ in range(2):
        stack.double()
        with torch.no_grad():
            for parameter in stack.parameters():
                parameter.mul_(0.9)
        stack.draw()
        exact = gradients(random_loss(reference(stack.recurrence())), stack)
        stack.to(lower)
        stack.masks = [type(masks)(*(x.to(lower) for x in masks)) for masks in stack.masks]
        got, want = (relative_errors(e, stack, exact, autocast) for e in (engine, reference))
        rounding = 10 * torch.finfo(torch.bfloat16 if autocast else lower).eps
        for name in want:
            if not name.endswith("encoder_attn.k_proj.bias"):  # nothing but rounding
                assert got[name] < 2 * want[name] + rounding, name
    assert engine.recordings and not engine._broken


@gpu
def test_two_graphs_alive_at_once_do_not_disturb_each_other_on_a_gpu():
    stack, engine = Stack(replace(LARGER, dtype=torch.float64)), on_gpu()
    want = [gradients(random_loss(reference(stack.recurrence()), s), stack) for s in (1, 2)]
    losses = [random_loss(engine(stack.recurrence()), seed) for seed in (1, 2)]
    for i in (0, 1):
        for name, grad in gradients(losses[i], stack).items():
            torch.testing.assert_close(grad, want[i][name])


@gpu
def test_many_sizes_share_one_memory_on_a_gpu():
    case = Case(layers=2, length=64, batch=64, dim=64, ffn_dim=256, heads=4, device="cuda")
    stack, engine = Stack(case), on_gpu(max_recordings=3)
    check_stack(stack, engine)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    for length in (60, 52, 44, 36, 64):
        check_stack(stack, engine, change=of_size(length, 64, 4))
    assert len(engine.recordings) == 3 and not engine._broken
    assert torch.cuda.memory_allocated() < 1.2 * before
    engine.drop_all()
    assert torch.cuda.memory_allocated() < 0.7 * before


@gpu
def test_a_replay_waits_for_nothing():
    stack, engine = Stack(replace(LARGER, dtype=torch.float32)), on_gpu()
    for _ in range(2):
        loss = random_loss(engine(stack.recurrence()))
        loss.backward()
    batch, grad = batch_of(stack), torch.ones_like(stack.inputs)
    (recording,) = engine.recordings.values()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            states, _ = recording.forward(batch)
            recording.backward(batch, [grad] * len(states), None)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu
def test_updates_are_those_of_the_manual_engine():
    """Adam changes the weights in place between replays; the first updates run step by step."""
    found = []
    for engine in (graphs, manual):
        stack = Stack(replace(LARGER, dtype=torch.float64))
        optimizer = torch.optim.Adam(stack.parameters(), lr=1e-3)
        for seed in range(6):
            torch.manual_seed(seed)
            stack.draw()
            optimizer.zero_grad()
            engine(stack.recurrence()).states[-1].square().mean().backward()
            optimizer.step()
        found.append([x.detach().clone() for x in stack.parameters()])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-9)


GPU_TRAINING = TINY.replace(" --cpu", "").replace("embed-dim 8", "embed-dim 64")


@gpu
@pytest.mark.parametrize("precision", ["", "--bf16", "--fp16", "--amp"])
def test_fairseq_train_runs_on_a_gpu(precision, tmp_path, caplog):
    data = make_data(tmp_path / "data")
    flags = f"{precision} --memtx-engine cuda-graphs --max-epoch 6 --update-freq 2".split()
    run_training(data, tmp_path / "run", *flags, tiny=GPU_TRAINING)
    assert (tmp_path / "run" / "checkpoint_last.pt").exists()
    stream = torch.cuda.current_stream().cuda_stream
    engine = cuda_graphs._replayer(torch.device("cuda", torch.cuda.current_device()), stream)
    assert engine.recordings and not engine._broken
    assert not [x for x in caplog.records if "replayed" in x.getMessage()]


@gpu
def test_activations_other_than_relu_can_be_captured():
    replays_of(on_gpu(), Stack(Case(activation=F.gelu, dropout=0.2, device="cuda")))
