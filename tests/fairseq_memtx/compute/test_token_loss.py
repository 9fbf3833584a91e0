"""Cross entropy in pieces has the values and gradients of the whole, in float64 to rounding."""

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from torch import Tensor

from fairseq_memtx.compute import token_loss as module
from fairseq_memtx.compute.token_loss import TokenLoss, token_loss

PAD = 1


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces, the last one shorter."""
    monkeypatch.setattr(module, "piece_rows", lambda words, kind: 4)


def made_up(tokens: int = 11, words: int = 7, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(tokens)
    features = torch.randn(tokens, 5, dtype=dtype).requires_grad_()
    weight = (3 * torch.randn(words, 5, dtype=dtype)).requires_grad_()
    return [features, weight, torch.randint(words, (tokens,))]


def whole(
    features: Tensor, weight: Tensor, target: Tensor, smoothing: float, padding_idx: int = PAD
) -> TokenLoss:
    """fairseq's loss of all tokens at once."""
    logits = F.linear(features, weight)
    lprobs = F.log_softmax(logits, -1, dtype=logits.dtype)
    loss, nll = label_smoothed_nll_loss(lprobs, target, smoothing, ignore_index=padding_idx)
    real = target.ne(padding_idx)
    correct = logits.argmax(1).eq(target)[real].sum()
    return TokenLoss(loss, nll.detach(), correct, int(real.sum()))


def gradients(loss: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("tokens", [1, 4, 11])
def test_it_equals_fairseqs(smoothing: float, tokens: int) -> None:
    features, weight, target = made_up(tokens)
    got = token_loss(features, weight, target, smoothing, PAD, count_correct=True)
    want = whole(features, weight, target, smoothing)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    found = gradients(got.loss, features, weight)
    wanted = gradients(want.loss, features, weight)
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)


def test_the_gradient_is_that_of_differences() -> None:
    features, weight, target = made_up(6)
    target = target.masked_fill(target.eq(PAD), 0)
    assert torch.autograd.gradcheck(
        lambda x, w: token_loss(x, w, target, 0.2, PAD).loss, (features, weight)
    )


def test_a_factor_of_the_loss_reaches_the_gradients() -> None:
    features, weight, target = made_up()
    loss = token_loss(features, weight, target, 0.1, PAD).loss
    want = gradients(3.0 * whole(features, weight, target, 0.1).loss, features, weight)
    torch.testing.assert_close(gradients(3.0 * loss, features, weight), want)


def test_padding_alone_costs_nothing() -> None:
    features, weight, target = made_up()
    loss = token_loss(features, weight, torch.full_like(target, PAD), 0.1, PAD)
    assert float(loss.loss.detach()) == float(loss.nll) == loss.total == 0
    for x in gradients(loss.loss, features, weight):
        assert not x.any()


def test_only_what_is_wanted_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for name in ("input_gradient", "weight_gradient"):
        stock = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *x, s=stock, n=name: made.append(n) or s(*x))
    features, weight, target = made_up(4)
    with torch.no_grad():
        token_loss(features, weight, target)
    assert made == []
    token_loss(features, weight.detach(), target)
    assert made == ["input_gradient"]
    made.clear()
    token_loss(features.detach(), weight, target)
    assert made == ["weight_gradient"]


def test_a_hopeless_target_has_a_finite_loss() -> None:
    """Its probability is too small for float32; its logarithm is not."""
    features = torch.tensor([[200.0]])
    found = token_loss(features, torch.tensor([[1.0], [-1.0]]), torch.tensor([1]))
    assert float(found.loss) == 400.0


@pytest.mark.parametrize("gap", [80.0, 87.0, 88.5, 95.0, 104.0, 120.0])
def test_a_rare_target_loses_no_digits(gap: float) -> None:
    """Where the probability is small, denormal or zero in float32, among others that are not."""
    features = torch.tensor([[gap], [1.0], [0.0]]).requires_grad_()
    weight = torch.tensor([[0.0], [-1.0], [-0.5]]).requires_grad_()
    target = torch.tensor([1, 0, 2])
    found = token_loss(features, weight, target, 0.1)
    exact = [x.detach().double().requires_grad_() for x in (features, weight)]
    wanted = whole(*exact, target, 0.1, padding_idx=-1)
    torch.testing.assert_close(found.nll.double(), wanted.nll, rtol=3e-7, atol=0)
    torch.testing.assert_close(
        found.loss.detach().double(), wanted.loss.detach(), rtol=3e-7, atol=0
    )
    for got, want in zip(
        gradients(found.loss, features, weight), gradients(wanted.loss, *exact), strict=True
    ):
        torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=1e-7)


def test_float32_is_as_near_to_float64_as_the_whole_is() -> None:
    features, weight, target = made_up(40, 60)
    exact = whole(features, weight, target, 0.1)
    wanted = gradients(exact.loss, features, weight)
    x, w = (t.detach().float().requires_grad_() for t in (features, weight))
    distances = []
    for loss in (token_loss(x, w, target, 0.1, PAD).loss, whole(x, w, target, 0.1).loss):
        found = gradients(loss, x, w)
        pairs = zip((*found, loss.detach()), (*wanted, exact.loss.detach()), strict=True)
        distances.append([float((a.double() - b).norm() / b.norm()) for a, b in pairs])
    assert all(ours < 2 * other + 2e-7 for ours, other in zip(*distances, strict=True))


@pytest.mark.parametrize("autocast", [True, False])
def test_bfloat16_has_its_own_precision_and_no_less(autocast: bool) -> None:
    features, weight, target = made_up(40, 60)
    exact = whole(features, weight, target, 0.1)
    wanted = gradients(exact.loss, features, weight)
    dtype = torch.float32 if autocast else torch.bfloat16
    x, w = (t.detach().to(dtype).requires_grad_() for t in (features, weight))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = token_loss(x, w, target, 0.1, PAD).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.detach().double(), exact.loss.detach(), rtol=0.01, atol=0)
    for got, want in zip(gradients(loss, x, w), wanted, strict=True):
        assert got.dtype == dtype
        assert float((got.double() - want).norm() / want.norm()) < 0.03


def test_pieces_are_small_and_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert module.piece_rows(32_000, "cpu") * 32_000 * 4 <= 24 * 2**20
    assert module.piece_rows(10**9, "cpu") == module.MIN_PIECE
    assert module.piece_rows(32_000, "cuda") > module.piece_rows(32_000, "cpu")
