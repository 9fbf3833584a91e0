"""What is measured of a decoder whose positions are swept together."""

import pytest
import torch


def test_errors_are_what_they_are_called() -> None:
    from scripts.studies.sweeps.subjects import Outcome
    from scripts.studies.sweeps.subjects import errors as measured

    exact = Outcome(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), 5.0, torch.tensor([2.0, 0.0]), [])
    got = Outcome(torch.tensor([[3.0, 4.0], [0.0, 3.0]]), 4.5, torch.tensor([2.0, 2.0]), [])
    assert measured(got, exact) == pytest.approx(
        {"state_mean": 0.25, "state_max": 0.5, "bits": -0.5, "gradient": 1.0, "cosine": 0.5**0.5}
    )


def test_the_loss_does_not_count_padding() -> None:
    from scripts.studies.sweeps.subjects import outcome, random_subject

    subject = random_subject(1, 64, 2, 5)
    (batch,) = subject.batches
    whole = outcome(subject).bits
    batch.target[:] = batch.target[:1]
    batch.tokens[:] = batch.tokens[:1]
    source = batch.source["encoder_out"][0]
    source.data[:] = source.data[:, :1]
    twice = outcome(subject).bits
    batch.target[1] = subject.decoder.padding_idx
    assert outcome(subject).bits == pytest.approx(twice, rel=1e-5)
    assert twice != pytest.approx(whole, rel=1e-5)
