"""The ways in which fairseq trains: several processes, accumulated batches, lower precisions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from tests.choosing import some
from tests.fairseq_memtx.ranks import run_two_processes
from tests.fairseq_memtx.segments import sample_of
from tests.fairseq_memtx.tiny import build_model
from tests.fairseq_memtx.tiny_training import (
    load,
    make_data,
    run_training,
    run_two_ranks,
    write_pairs,
)

ENGINES = ["manual", "reference"]
#: Target lengths of the sentences of two batches; a target of one word reads no memory.
BATCHES = [[9, 4], [1, 6]]
ROUNDING = {"rtol": 1e-9, "atol": 1e-11}


def build(engine: str = "manual", **settings: Any) -> Any:
    settings = {"decoder_normalize_before": True, "memtx_relative_positions": 3, **settings}
    return build_model(memtx_engine=engine, **settings).train()


def sample(lengths: list[int]) -> dict[str, Any]:
    """Sentences that depend on their lengths alone, in whichever batch they are."""
    parts = []
    for length in lengths:
        torch.manual_seed(length)
        parts.append(sample_of([length % 4 + 2], [length]))
    return merged(parts)


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Batches of one sentence each as one batch, padded as fairseq does."""

    def pad(rows: list[Tensor], left: bool) -> Tensor:
        width = max(row.size(1) for row in rows)
        size = [(width - r.size(1), 0) if left else (0, width - r.size(1)) for r in rows]
        return torch.cat([F.pad(r, s, value=1) for r, s in zip(rows, size, strict=True)])

    inputs = [part["net_input"] for part in parts]
    return {
        "target": pad([part["target"] for part in parts], left=False),
        "net_input": {
            "src_tokens": pad([x["src_tokens"] for x in inputs], left=True),
            "src_lengths": torch.cat([x["src_lengths"] for x in inputs]),
            "prev_output_tokens": pad([x["prev_output_tokens"] for x in inputs], left=False),
        },
    }


def loss_of(model: Any, batch: dict[str, Any]) -> Tensor:
    """The sum of cross entropies in the model's precision; fairseq's is in float32."""
    logits, _ = model(**batch["net_input"])
    return F.cross_entropy(
        logits.flatten(0, 1), batch["target"].flatten(), ignore_index=1, reduction="sum"
    )


def gradients(model: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def whole_batch_gradients(engine: str) -> dict[str, Tensor]:
    model = build(engine)
    loss_of(model, sample([length for lengths in BATCHES for length in lengths])).backward()
    return gradients(model)


# --- Several batches as one ---------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_of_two_batches_add_up_to_those_of_one(engine):
    model = build(engine)
    for lengths in BATCHES:
        loss_of(model, sample(lengths)).backward()
    torch.testing.assert_close(gradients(model), whole_batch_gradients(engine), **ROUNDING)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_forwards_may_come_before_their_backwards(engine):
    model = build(engine)
    losses = [loss_of(model, sample(lengths)) for lengths in BATCHES]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(gradients(model), whole_batch_gradients(engine), **ROUNDING)


def rank_gradients(rank: int, folder: Path, settings: dict[str, Any]) -> None:
    """What one of two processes finds; two steps, to see that the first leaves nothing behind."""
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    model = build(**settings)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    for _ in range(2):
        model.zero_grad()
        loss_of(parallel, sample(BATCHES[rank])).backward()
    torch.save(gradients(model), folder / f"{rank}.pt")
    # The group is not taken down: where `parallel` is the last to hold it, torch frees it with the
    # interpreter's lock in hand and waits for a thread that wants the lock.


@pytest.mark.parametrize(
    "settings",
    [
        {"engine": "manual"},
        {"engine": "reference"},
        {"engine": "manual", "checkpoint_activations": True},
    ],
    ids=["manual", "reference", "checkpointed"],
)
def test_two_processes_find_the_gradients_of_one(settings, tmp_path):
    run_two_processes(rank_gradients, tmp_path, settings)
    want = whole_batch_gradients(settings["engine"])
    for rank in range(2):
        mean = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close({n: 2 * g for n, g in mean.items()}, want, **ROUNDING)


# --- fairseq-train ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pairs: a single batch, or two, or four."""
    return make_data(tmp_path_factory.mktemp("modes") / "data", train_pairs=8)


def trained(
    data: Path, folder: Path, flags: str, run: Callable[..., None] = run_training
) -> dict[str, Tensor]:
    """The weights after three updates (SGD: Adam would blow the rounding up)."""
    common = "--max-tokens 1000 --max-epoch 3 --disable-validation --dropout 0 --lr 0.5"
    run(data, folder, *f"{common} --optimizer sgd {flags}".split())
    state = load(folder / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 3
    return state["model"]


SAME_UPDATES: dict[str, tuple[Callable[..., None], str]] = {
    "two batches": (run_training, "--batch-size 4 --update-freq 2"),
    "four batches": (run_training, "--batch-size 2 --update-freq 4"),
    "two processes": (run_two_ranks, "--batch-size 4"),
    "two processes, two batches": (run_two_ranks, "--batch-size 2 --update-freq 2"),
}


@pytest.fixture(scope="module")
def one_batch(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a training whose updates are one batch each."""
    return trained(data, tmp_path_factory.mktemp("one") / "save", "--batch-size 8")


@pytest.mark.parametrize("name", some(SAME_UPDATES, 2))
def test_an_update_is_the_same_however_its_batch_is_cut(name, data, one_batch, tmp_path):
    run, flags = SAME_UPDATES[name]
    got = trained(data, tmp_path / "save", flags, run)
    torch.testing.assert_close(got, one_batch, rtol=1e-5, atol=1e-6)


def test_another_rate_makes_other_updates(data, one_batch, tmp_path):
    """Negative control of the test above."""
    got = trained(data, tmp_path / "save", "--batch-size 8 --lr 0.51")
    with pytest.raises(AssertionError):
        torch.testing.assert_close(got, one_batch, rtol=1e-5, atol=1e-6)


SEGMENTS = "--memtx-segment-len 4 --memtx-mem-len 4"
ARCHITECTURES = {
    "memtx_feedback": "",
    "memtx_transformer_xl": SEGMENTS,
    "memtx_compressive": f"{SEGMENTS} --memtx-compression-rate 2 --criterion memtx_compression",
    "memtx_feedback --checkpoint-activations": "",
}
#: Flags of lower precisions, and how far from float32 two updates may end. `--amp` changes nothing
#: on a CPU.
LOWER = {
    "--fp16": 0.01,
    "--memory-efficient-fp16": 0.01,
    "--amp": 1e-6,
    "--bf16": 0.05,
    "--memory-efficient-bf16": 0.05,
}


def train_arch(arch: str, flags: str, data: Path, folder: Path) -> dict[str, Tensor]:
    optimizer = "--optimizer adam --adam-eps 0.01 --lr 0.01 --fp16-init-scale 4"
    return trained(data, folder, f"--arch {arch} {ARCHITECTURES[arch]} {optimizer} {flags}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [
        "memtx_feedback",
        "memtx_compressive",
        "memtx_transformer_xl",
        "memtx_feedback --checkpoint-activations",
    ],
)
def test_lower_precisions_train_on_a_cpu(arch, data, tmp_path):
    want = train_arch(arch, "", data, tmp_path / "float32")
    for flags, most in LOWER.items():
        got = train_arch(arch, flags, data, tmp_path / flags.strip("-"))
        for name, x in want.items():
            error = (got[name].float() - x).norm() / (x.norm() + 1)
            assert error < most, (flags, name)


# --- Autocast -----------------------------------------------------------------------------------


def autocast_errors(exact: Any, engine: str, dtype: torch.dtype | None) -> dict[str, float]:
    """Distances of the logits and of each gradient from the exact ones, relative to their length.

    Biases of keys have no influence: their gradient is nothing but rounding.
    """
    model = build(engine).float()
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        logits, _ = model(**sample([9, 4, 6])["net_input"])
    target = sample([9, 4, 6])["target"]
    F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=1).backward()
    found = {"logits": logits.detach(), **gradients(model)}
    return {
        name: float((found[name].double() - x).norm() / (x.norm() + 1e-3))
        for name, x in exact.items()
        if not ("k_proj" in name and name.endswith("bias"))
    }


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_errors_under_autocast_are_those_of_the_precision_and_of_the_reference(dtype):
    model, batch = build("reference"), sample([9, 4, 6])
    logits, _ = model(**batch["net_input"])
    F.cross_entropy(logits.flatten(0, 1), batch["target"].flatten(), ignore_index=1).backward()
    exact = {"logits": logits.detach(), **gradients(model)}
    got, want = (autocast_errors(exact, engine, dtype) for engine in ENGINES)
    rounding = torch.finfo(dtype).eps
    for name in want:
        assert got[name] < 2 * want[name] + 10 * rounding, name
    assert rounding / 100 < got["logits"] < 10 * rounding
    float32 = autocast_errors(exact, "manual", None)
    assert max(float32.values()) < 1e-3


def test_a_rank_may_have_nothing_to_compress(tmp_path: Path) -> None:
    """In every update one rank has sentences too short to be compressed, the other long ones."""
    data = make_data(tmp_path / "data")
    write_pairs(data, "train", [(2, 2)] * 2 + [(9, 20)] * 2, seed=1)
    flags = "--arch memtx_compressive --criterion memtx_compression --memtx-segment-len 8"
    flags += " --memtx-mem-len 8 --memtx-cmem-len 4 --memtx-compression-rate 4 --batch-size 2"
    flags += " --max-epoch 3 --report-accuracy"
    run_two_ranks(data, tmp_path / "save", *flags.split(), seconds=120)
    state = load(tmp_path / "save" / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 3
