"""`--checkpoint-activations` changes nothing but the memory that training takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fairseq_memtx.engine import checkpointing
from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.engine.live_bytes import LiveBytes
from tests.fairseq_memtx.segments import CASES as SEGMENT_CASES
from tests.fairseq_memtx.segments import sample_of
from tests.fairseq_memtx.tiny import build_model
from tests.fairseq_memtx.tiny_training import TINY, load, make_data, run_training, run_two_ranks

DROPOUT = {"dropout": 0.2, "attention_dropout": 0.1, "activation_dropout": 0.3}
FEEDBACK: dict[str, dict[str, Any]] = {
    "manual": {},
    "reference": {"memtx_engine": "reference"},
    "pre-norm, per-layer": {"decoder_normalize_before": True, "memtx_memory_kv": "per-layer"},
    "span, relative": {"memtx_memory_span": 3, "memtx_relative_positions": 2},
    "no cross-attention": {"no_cross_attention": True},
    "layer drop": {"decoder_layers": 4, "decoder_layerdrop": 0.5},
    "layer drop, per-layer": {
        "decoder_layers": 4,
        "decoder_layerdrop": 0.5,
        "memtx_memory_kv": "per-layer",
        "memtx_engine": "reference",
    },
}
MODELS = {
    **{name: ("memtx_feedback", settings) for name, settings in FEEDBACK.items()},
    **{f"segments, {name}": case for name, case in SEGMENT_CASES.items()},
    "segments, layer drop": (
        "memtx_compressive",
        {**SEGMENT_CASES["conv"][1], "decoder_layers": 4, "decoder_layerdrop": 0.5},
    ),
}


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    """Several pieces even of the short targets here."""
    monkeypatch.setattr(checkpointing, "piece_length", lambda num_steps: 3)


def build(name: str, **settings: Any) -> Any:
    arch, options = MODELS[name]
    return build_model(arch, arch=arch, **{**DROPOUT, **options, **settings}).train()


def loss_of(model: Any, seed: int, lengths: tuple[int, ...] = (14, 5, 9)) -> Tensor:
    """A loss in which all outputs count, with the dropout and the layer drop of a seed."""
    torch.manual_seed(seed)
    sample = sample_of([4, 6, 2], list(lengths))["net_input"]
    torch.manual_seed(seed)
    logits, extra = model(**sample)
    generator = torch.Generator().manual_seed(5)
    outputs = [logits, *extra["inner_states"], *(x for x in extra["attn"] if x is not None)]
    outputs += [extra["compression_loss"]] if "compression_loss" in extra else []
    noise = [torch.randn(x.shape, generator=generator, dtype=x.dtype) for x in outputs]
    return torch.stack([(x * n).sum() for x, n in zip(outputs, noise, strict=True)]).sum()


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def check_same(got: tuple[Tensor, dict], want: tuple[Tensor, dict]) -> None:
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_are_the_same_with_dropout_and_layer_drop(name):
    plain, again = build(name), build(name, checkpoint_activations=True)
    found = []
    for model in (plain, again):
        loss = loss_of(model, seed=3)
        torch.manual_seed(99)  # what the backward draws must not depend on the state here
        found.append((loss.detach(), gradients(model, loss)))
    check_same(found[1], found[0])
    with pytest.raises(AssertionError):  # negative control: another seed is noticed
        torch.testing.assert_close(loss_of(again, seed=4).detach(), found[0][0])


@pytest.mark.parametrize("name", ["manual", "reference", "segments, conv", "segments, most-used"])
def test_two_graphs_alive_at_once(name):
    plain, again = build(name), build(name, checkpoint_activations=True)
    want = [gradients(plain, loss_of(plain, seed)) for seed in (3, 4)]
    losses = [loss_of(again, seed) for seed in (3, 4)]
    for loss, expected in zip(losses, want, strict=True):
        torch.testing.assert_close(gradients(again, loss), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["manual", "segments, conv"])
def test_nothing_is_run_again_outside_of_training(name, monkeypatch):
    model = build(name, checkpoint_activations=True)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("was checkpointed")

    monkeypatch.setattr(checkpointing.Checkpointed, "__call__", fail)
    monkeypatch.setattr("fairseq_memtx.models.checkpointed_stack.checkpoint", fail)
    with torch.no_grad():
        loss_of(model, seed=3)
    loss_of(model.eval(), seed=3)
    with pytest.raises(AssertionError, match="was checkpointed"):
        loss_of(model.train(), seed=3)


def live_bytes(name: str, **settings: Any) -> tuple[int, int]:
    """Kept for the backward, and the most at any time, parameters and their gradients apart."""
    sizes = {"decoder_layers": 4, "decoder_embed_dim": 32, "decoder_ffn_embed_dim": 128}
    model = build(name, **sizes, **settings)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with LiveBytes() as counted:
        loss = loss_of(model, seed=3, lengths=(40, 30, 35))
        kept = counted.now
        loss.backward()
    return kept, counted.peak


@pytest.mark.parametrize("name", ["manual", "segments, xl", "segments, conv"])
def test_less_is_kept_and_the_most_at_any_time_is_less(name):
    kept, peak = live_bytes(name)
    kept_again, peak_again = live_bytes(name, checkpoint_activations=True)
    assert kept_again < kept / 2 and peak_again < peak / 2


@pytest.mark.parametrize("engine", ["parallel", "cuda-graphs"])
def test_engines_that_would_not_give_the_same_are_refused(engine):
    with pytest.raises(
        UserError, match=r"--memtx-engine is .* it has to be manual or reference with"
    ):
        build("manual", checkpoint_activations=True, memtx_engine=engine)


# --- fairseq-train ------------------------------------------------------------------------------

FLAGS = "--max-epoch 1 --disable-validation --max-tokens 100 --decoder-layers 2 --dropout 0.2"
COMPRESSIVE = (
    "--arch memtx_compressive --memtx-segment-len 4 --memtx-mem-len 4 --memtx-compression-rate 2"
    " --criterion memtx_compression"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("checkpointing") / "data", train_pairs=36)


# Not Adam: the biases of keys have no gradient but rounding, since a number that is added to all
# scores of a query leaves its probabilities as they are, and Adam takes whole steps of it.
PLAIN_STEPS = TINY.replace("--optimizer adam --lr 0.01", "--optimizer sgd --lr 0.5")
MOST_ROUNDING = 1e-5  # 1.2e-7 was seen


def apart(one: Path, other: Path) -> float:
    """The largest difference of a weight between two trainings."""
    models = [load(folder / "checkpoint_last.pt")["model"] for folder in (one, other)]
    assert models[0].keys() == models[1].keys()
    return max(float((x - models[1][name]).abs().max()) for name, x in models[0].items())


@pytest.mark.parametrize(
    "flags, run",
    [
        pytest.param("", run_training, marks=pytest.mark.slow),
        (COMPRESSIVE, run_training),
        pytest.param("", run_two_ranks, marks=pytest.mark.slow),
        pytest.param(COMPRESSIVE, run_two_ranks, marks=pytest.mark.slow),
    ],
)
def test_a_training_ends_with_the_same_weights(flags, run, data, tmp_path):
    for name, more in (("plain", ""), ("again", "--checkpoint-activations")):
        run(data, tmp_path / name, *f"{FLAGS} {flags} {more}".split(), tiny=PLAIN_STEPS)
    assert apart(tmp_path / "again", tmp_path / "plain") < MOST_ROUNDING


def test_another_dropout_ends_with_other_weights(data, tmp_path):
    """Negative control: what checkpointing might get wrong would be seen."""
    for name, more in (("plain", ""), ("other", "--dropout 0.25")):
        run_training(data, tmp_path / name, *f"{FLAGS} {more}".split(), tiny=PLAIN_STEPS)
    assert apart(tmp_path / "other", tmp_path / "plain") > 1000 * MOST_ROUNDING
