"""The learned mixture appears in fairseq's logs, under plain tasks and criterions too."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq.logging import metrics, progress_bar

from fairseq_memtx.models.mixture_log import log_mixture
from fairseq_memtx.modules.mixture import LayerMixture
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens
from tests.fairseq_memtx.tiny_training import load, make_data, run_training, run_two_ranks

LOGGED = "--decoder-layers 2 --log-format json --log-interval 2 --max-epoch 1"
KEYS = ["mixture_0", "mixture_1", "mixture_2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("mixture") / "data", train_pairs=36)


def lines(caplog: Any, kind: str) -> list[dict[str, Any]]:
    """fairseq's JSON lines of this kind, numbers as numbers."""
    found = [json.loads(r.getMessage()) for r in caplog.records if r.name == kind]
    return [{key: float(value) for key, value in line.items()} for line in found]


def probs(checkpoint: Path) -> list[float]:
    return load(checkpoint)["model"]["decoder.memory.mixture.weight"].softmax(0).tolist()


@pytest.mark.parametrize("task", ["translation", "memtx_translation"])
def test_training_logs_a_weight_of_each_state(task, data, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    flags = f"{LOGGED} --save-interval-updates 1 --no-last-checkpoints"
    run_training(data, tmp_path / "save", *flags.split(), task=task)
    inner = lines(caplog, "train_inner")
    assert len(inner) > 1
    for line in inner:
        # the weights that made this update, hence those saved after the one before
        updates = int(line["num_updates"])
        (before,) = (tmp_path / "save").glob(f"checkpoint_*_{updates - 1}.pt")
        assert [line[key] for key in KEYS] == pytest.approx(probs(before), abs=6e-5)
    assert inner[0] != inner[-1] and "mixture_3" not in inner[0]
    (epoch,) = lines(caplog, "train")
    assert [epoch[f"train_{key}"] for key in KEYS] == pytest.approx(
        probs(max((tmp_path / "save").glob("checkpoint_*.pt"), key=lambda p: p.stat().st_mtime)),
        abs=0.02,
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_routed_weights_are_logged_as_their_mean_over_the_words(channels):
    options = {"memtx_memory_mixture": "routed", "memtx_memory_channels": channels}
    model = build_model(**options).train()
    tokens, source = random_tokens([4, 2]), random_source([3, 3])
    with metrics.aggregate(new_root=True) as found:
        _, extra = model.decoder(tokens, source)
    logged = found.get_smoothed_values()
    shares = model.decoder.memory.mixture.shares(extra["inner_states"])
    words = [shares[t, b] for b, length in enumerate([4, 2]) for t in range(length)]
    mean = torch.stack(words).mean(dim=0)  # (K, L + 1)
    names = KEYS if channels == 1 else [f"mixture_{c}_{n}" for c in (0, 1) for n in range(3)]
    assert list(logged) == names
    assert list(logged.values()) == pytest.approx(mean.flatten().tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", ["mean", "first", "last", "1"])
def test_fixed_mixtures_are_not_logged(kind):
    model = build_model(memtx_memory_mixture=kind).train()
    with metrics.aggregate(new_root=True) as found:
        model.decoder(random_tokens([4]), random_source([3]))
    assert not found.get_smoothed_values()


@pytest.mark.slow
def test_two_ranks_log_what_one_process_does(data, tmp_path):
    """The mixture is a parameter: ranks that disagreed on it would have diverged."""
    flags = f"{LOGGED} --log-interval 1 --no-save --dropout 0 --log-file".split()
    run_two_ranks(data, tmp_path / "two", *flags, str(tmp_path / "two.log"))
    run_training(data, tmp_path / "one", *flags, str(tmp_path / "one.log"), "--update-freq", "2")
    one, two = ((tmp_path / f"{name}.log").read_text() for name in ("one", "two"))
    assert one.count('"mixture_0"') > 1 and '"train_mixture_0"' in one
    found = [
        [[json.loads(line[line.index("{") :])[key] for key in KEYS] for line in text.split("\n")
         if '"mixture_0"' in line]
        for text in (one, two)
    ]  # fmt: skip
    assert found[0] == found[1]


def test_tensorboard_is_given_the_weights(monkeypatch):
    written = {}
    writer = SimpleNamespace(
        add_scalar=lambda key, value, step: written.update({key: value}), flush=lambda: None
    )
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {"train_inner": writer})
    monkeypatch.setattr(progress_bar, "SummaryWriter", object())
    bar = progress_bar.JsonProgressBar([])
    bar = progress_bar.TensorboardProgressBarWrapper(bar, "folder")
    with metrics.aggregate(new_root=True) as found:
        log_mixture(LayerMixture(2))
    bar.log(found.get_smoothed_values(), tag="train_inner", step=3)
    assert written == {key: pytest.approx(1 / 3, abs=1e-4) for key in KEYS}


def test_no_value_leaves_its_device_before_a_line_is_printed(monkeypatch):
    """On an accelerator reading one would wait for all work queued before it."""
    mixture = LayerMixture(3)

    def forbidden(*args: Any) -> None:
        raise AssertionError("a value was read")

    with metrics.aggregate(new_root=True) as found:
        for name in ("item", "tolist", "__float__", "__bool__", "__int__"):
            monkeypatch.setattr(torch.Tensor, name, forbidden)
        log_mixture(mixture)
        monkeypatch.undo()
    assert list(found.get_smoothed_values()) == [f"mixture_{n}" for n in range(4)]


def test_nothing_is_logged_outside_of_training(monkeypatch):
    model = build_model()
    for training, grad in ((False, True), (True, False)):
        model.train(training)
        with metrics.aggregate(new_root=True) as found, torch.set_grad_enabled(grad):
            model.decoder(random_tokens([4]), random_source([3]))
        assert not found.get_smoothed_values()
