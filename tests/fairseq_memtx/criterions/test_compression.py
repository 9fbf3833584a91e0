"""The criterion that teaches the compression: its loss, its logs, and what is refused."""

import pytest
import torch
from fairseq.logging import metrics
from torch import Tensor

from fairseq_memtx.criterions.compression import CompressionCriterion
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.models.segment_decoder import rarely_used
from tests.fairseq_memtx.segments import CASES, EXACT, build, criterion, sample_of


def test_a_criterion_that_would_leave_the_compression_untaught_is_refused():
    with pytest.raises(UserError, match=r"--criterion is .* it has to be memtx_compression"):
        build("conv", criterion="label_smoothed_cross_entropy")
    build("conv", criterion="memtx_compression")
    build("conv", criterion="cross_entropy", memtx_compression_loss="bptt")
    build("most-used", criterion="cross_entropy")


@pytest.mark.parametrize("weight", [-0.5, float("nan")])
def test_a_factor_that_would_teach_the_opposite_is_refused(weight):
    with pytest.raises(
        UserError, match=f"--memtx-compression-weight is {weight}: it has to be at least 0"
    ):
        criterion(memtx_compression_weight=weight)


@pytest.mark.parametrize("case", ["conv", "auto-encoding"])
@pytest.mark.parametrize("lengths", [[14, 5, 9], [14, 12, 8], [17, 16, 4]])
def test_the_criterion_of_a_padded_batch_is_the_sum_of_its_sentences(case, lengths):
    """A length that ends with a segment too: no later segment sees what falls out then."""
    model = build(case).train()
    sample = sample_of([4, 6, 2], lengths)
    loss, size, logged = criterion()(model, sample)
    assert size == sum(lengths) and logged["compression_loss"] > 0
    single = []
    for b, length in enumerate(lengths):
        net_input = sample["net_input"]
        real = net_input["src_tokens"][b].ne(1)
        alone = {
            "target": sample["target"][b : b + 1, :length],
            "ntokens": length,
            "net_input": {
                "src_tokens": net_input["src_tokens"][b : b + 1, real],
                "src_lengths": net_input["src_lengths"][b : b + 1],
                "prev_output_tokens": net_input["prev_output_tokens"][b : b + 1, :length],
            },
        }
        single.append(criterion()(model, alone))
    close = {"rtol": 1e-6, "atol": 0}  # fairseq's log-probabilities are in float32
    torch.testing.assert_close(loss, sum(s[0] for s in single), **close)
    total = sum(s[2]["compression_loss"] for s in single)
    torch.testing.assert_close(logged["compression_loss"], total, **EXACT)
    torch.testing.assert_close(loss.data, logged["loss"] + logged["compression_loss"], **close)


@pytest.mark.parametrize("case", ["conv", "auto-encoding"])
def test_the_compression_s_loss_teaches_it_alone_in_the_whole_model(case):
    model, sample = build(case).train(), sample_of([4, 6, 2], [14, 5, 9])

    def grads(weight: float) -> dict[str, Tensor]:
        model.zero_grad()
        criterion(memtx_compression_weight=weight)(model, sample)[0].backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    without, with_loss = grads(0.0), grads(1.0)
    own = {name for name in without if ".compression." in name or ".rebuild." in name}
    assert own
    for name in without:
        if name in own:
            assert without[name].abs().max() == 0 and with_loss[name].abs().max() > 0, name
        else:
            torch.testing.assert_close(with_loss[name], without[name], rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lengths", [[14, 5], [2, 1]])
def test_every_parameter_gets_a_gradient_in_every_step(case, lengths):
    """Distributed training waits for all of them; a dummy batch too."""
    model = build(case).train()
    loss, _, _ = criterion()(model, sample_of([4, 6], lengths))
    (0.0 * loss).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_bptt_teaches_the_compression_without_a_loss_of_its_own():
    model = build("conv", memtx_compression_loss="bptt").train()
    loss, _, logged = criterion()(model, sample_of([4, 6], [14, 13]))
    loss.backward()
    assert logged["compression_loss"] == 0.0
    for layer in model.decoder.layers:
        assert all(p.grad.abs().max() > 0 for p in rarely_used(layer.self_attn))


def test_the_logs_of_ranks_and_batches_are_averaged_by_their_size():
    model = build("conv")
    logs = [criterion()(model, sample_of([4, 6], lengths))[2] for lengths in ([14, 5], [3, 2])]
    with metrics.aggregate() as found:
        CompressionCriterion.reduce_metrics(logs)
    values = found.get_smoothed_values()
    tokens = sum(log["ntokens"] for log in logs)
    total = sum(float(log["compression_loss"]) for log in logs)
    assert values["compression_loss"] == pytest.approx(total / tokens, abs=1e-4)
    assert {"loss", "nll_loss", "ppl"} <= values.keys()
    assert CompressionCriterion.logging_outputs_can_be_summed()
