"""Cross entropy in pieces: the values, gradients and logs are those of fairseq's criteria."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq import utils
from fairseq.criterions import cross_entropy, label_smoothed_cross_entropy
from torch import nn

from fairseq_memtx.criterions import in_pieces
from fairseq_memtx.criterions.compression import CompressionCriterion
from tests.fairseq_memtx.segments import sample_of
from tests.fairseq_memtx.tiny import build_model, tiny_dictionary

SEGMENTS = {"memtx_segment_len": 4, "memtx_mem_len": 4}
MODELS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "memtx_feedback": {"share_decoder_input_output_embed": True},
    "memtx_transformer_xl": SEGMENTS,
    "memtx_compressive": {**SEGMENTS, "memtx_compression_rate": 2},
}


@pytest.fixture(autouse=True)
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """fairseq's softmax is in float32, whatever the model is in."""
    monkeypatch.setattr(
        utils, "log_softmax", lambda x, dim, onnx_trace=False: F.log_softmax(x, dim)
    )


def task(pieces: bool = True) -> Any:
    dictionary = tiny_dictionary()
    return SimpleNamespace(target_dictionary=dictionary, memtx_loss_in_pieces=pieces)


def sample(lengths: list[int]) -> dict[str, Any]:
    torch.manual_seed(1)
    found = sample_of([5] * len(lengths), lengths)
    return {**found, "ntokens": sum(lengths), "nsentences": len(lengths)}


def run(criterion: Any, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
    """The loss, the sample size, the log and the gradients by name."""
    model.zero_grad()
    loss, size, log = criterion(model, batch)
    loss.backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), size, log, grads


class Counter:
    """How often the loss in pieces is computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.times, self._stock = 0, in_pieces.token_loss
        monkeypatch.setattr(in_pieces, "token_loss", self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.times += 1
        return self._stock(*args, **kwargs)


@pytest.mark.parametrize("arch", MODELS)
@pytest.mark.parametrize(
    "settings",
    [
        {"label_smoothing": 0.1, "sentence_avg": False},
        {"label_smoothing": 0.0, "sentence_avg": True, "report_accuracy": True},
        {"label_smoothing": 0.2, "sentence_avg": False, "ignore_prefix_size": 2,
         "report_accuracy": True},
    ],
    ids=["plain", "by sentence", "without prefix"],
)  # fmt: skip
def test_label_smoothed_cross_entropy_is_fairseqs(
    arch: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = Counter(monkeypatch)
    model, batch = build_model(arch, **MODELS[arch]).train(), sample([9, 3, 6])
    kind = CompressionCriterion if arch == "memtx_compressive" else (
        in_pieces.LabelSmoothedCrossEntropyCriterion
    )  # fmt: skip
    want = run(kind(task(pieces=False), **settings), model, batch)
    assert counter.times == 0
    got = run(kind(task(), **settings), model, batch)
    assert counter.times == 1
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)
    if kind is not CompressionCriterion:
        stock = label_smoothed_cross_entropy.LabelSmoothedCrossEntropyCriterion
        torch.testing.assert_close(run(stock(task(), **settings), model, batch), want)


def test_cross_entropy_is_fairseqs(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    model, batch = build_model().train(), sample([4, 1])
    got = run(in_pieces.CrossEntropyCriterion(task(), False), model, batch)
    want = run(cross_entropy.CrossEntropyCriterion(task(), False), model, batch)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-11)
    assert counter.times == 1


def test_each_token_alone_is_fairseqs(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    model, batch = build_model(), sample([4, 2])
    criterion = in_pieces.LabelSmoothedCrossEntropyCriterion(task(), False, 0.1)
    loss, _, _ = criterion(model, batch, reduce=False)
    assert loss.shape == (8, 1)
    assert counter.times == 0


def test_the_names_in_checkpoints_stay_fairseqs() -> None:
    """fairseq refuses to go on from a checkpoint whose criterion has another name."""
    for stock, ours in in_pieces.IN_PIECES.items():
        assert stock.__name__ == ours.__name__ and stock is not ours
    assert len(in_pieces.IN_PIECES) == 2


def test_what_is_not_known_to_be_plain_is_left_to_fairseq() -> None:
    model = build_model()
    assert in_pieces.projection_weight(model) is model.decoder.output_projection.weight
    with torch.autocast("cpu", torch.float16):
        assert in_pieces.projection_weight(model) is None
    assert in_pieces.projection_weight(model.half()) is None
    assert in_pieces.projection_weight(build_model(adaptive_softmax_cutoff="5,8")) is None
    assert in_pieces.projection_weight(nn.Linear(2, 2)) is None
    model = build_model()
    model.decoder.output_projection = nn.Linear(8, 13)  # with a bias
    assert in_pieces.projection_weight(model) is None


def test_a_wrapped_model_is_seen_through_unless_unused_parameters_are_looked_for() -> None:
    model = build_model()
    weight = model.decoder.output_projection.weight
    wrapper = nn.Module()
    wrapper.module = model
    assert in_pieces.projection_weight(wrapper) is weight
    wrapper.find_unused_parameters = True
    assert in_pieces.projection_weight(wrapper) is None
