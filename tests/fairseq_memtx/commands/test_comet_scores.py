"""COMET beside BLEU, by a stand-in with the interface of its package; slow, by the package."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from fairseq_memtx.commands import comet_scores, score

try:
    VERSION = metadata.version(comet_scores.PACKAGE)
except metadata.PackageNotFoundError:
    VERSION = "unknown"

#: As much of `unbabel-comet` 2 as is used: it scores the share of words that are the reference's.
STAND_IN = """
from types import SimpleNamespace


class Model:
    def predict(self, samples, batch_size=16, gpus=1, progress_bar=True):
        assert gpus == 0 and not progress_bar and {len(one) for one in samples} == {3}
        assert all(one["src"].isascii() for one in samples)
        scores = []
        for one in samples:
            words = one["mt"].split()
            scores.append(sum(word in one["ref"].split() for word in words) / len(words))
        return SimpleNamespace(scores=scores, system_score=sum(scores) / len(scores))


def load_from_checkpoint(checkpoint_path, reload_hparams=False, strict=False):
    assert isinstance(checkpoint_path, str)
    with open(checkpoint_path) as file:
        if file.read() != "weights":
            raise Exception("hparams.yaml is missing\\nin the model's folder")
    return Model()
"""
TEXTS = {
    "source": ["A dog runs .", "No ."],
    "hypotheses": ["Ein Hund rennt .", "Nein ."],
    "references": ["Ein Hund l\u00e4uft .", "Nein ."],
}


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "comet", raising=False)
    comet_scores.load.cache_clear()
    yield
    comet_scores.load.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "comet.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path / "packages")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.ckpt"
    path.write_text("weights")
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The flags that name them."""
    flags = []
    for name, lines in TEXTS.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        flags += [f"--{name}", str(tmp_path / name)]
    return flags


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert score.main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    *_, told = captured.err.rstrip("\n").split("\n")
    return told


def test_it_stands_beside_bleu(package, model, files, capsys) -> None:
    assert score.main([*files, "--comet", str(model)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["comet"]["score"] == 87.5
    told = found["comet"]["signature"]
    assert told.startswith("model:model.ckpt|sha256:") and told.endswith(
        f"|x:100|version:{VERSION}"
    )
    assert score.main(files) == 0
    without = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in found if name != "comet"} == without


def test_without_its_package_it_is_refused(model, files, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)
    told = refused([*files, "--comet", str(model)], capsys)
    assert 'needs a package that is not here (pip install unbabel-comet "setuptools<81")' in told


def test_another_package_of_the_name_is_refused(model, files, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "comet", sys.modules["json"])
    assert "pip install unbabel-comet" in refused([*files, "--comet", str(model)], capsys)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "there is no file `--comet"),
        ("damaged", "cannot be loaded: hparams.yaml is missing in the model's folder"),
    ],
)
def test_an_unusable_model_is_refused(kind, says, package, model, files, capsys) -> None:
    if kind == "missing":
        model.unlink()
    else:
        model.write_text("something else")
    assert says in refused([*files, "--comet", str(model)], capsys)


def test_it_needs_the_source_line_by_line(package, model, files, capsys, tmp_path) -> None:
    without = files[2:]
    assert "`--comet` needs `--source`" in refused([*without, "--comet", str(model)], capsys)
    (tmp_path / "source").write_text("A dog .\n")
    told = refused([*files, "--comet", str(model)], capsys)
    assert "the source has 1, the hypotheses 2, the references 2" in told
    words = ["--model", "x", "--source", "y", "--hypotheses", "z", "--comet", str(model)]
    assert "`--comet` and `--model` exclude each other" in refused(words, capsys)


MAKE_UNTRAINED = """
import sys
from pathlib import Path

import pytorch_lightning as lightning
import torch
import yaml
from comet.models import RegressionMetric
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast

folder = Path(sys.argv[1])
encoder = folder / "encoder"
words = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
pieces = Tokenizer(models.Unigram([(word, -float(i)) for i, word in enumerate(words)], 3, False))
pieces.pre_tokenizer = pre_tokenizers.Metaspace()
XLMRobertaTokenizerFast(tokenizer_object=pieces).save_pretrained(encoder)
torch.manual_seed(1)
config = XLMRobertaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1,
                          num_attention_heads=2, intermediate_size=16, max_position_embeddings=64)
XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(encoder)
model = RegressionMetric(encoder_model="XLM-RoBERTa", pretrained_model=str(encoder),
                         hidden_sizes=[16], train_data=[], validation_data=[])
trainer = lightning.Trainer(max_epochs=0, logger=False, enable_checkpointing=False)
trainer.strategy.connect(model)
trainer.save_checkpoint(folder / "checkpoints" / "model.ckpt")
settings = {"class_identifier": "regression_metric", **model.hparams}
(folder / "hparams.yaml").write_text(yaml.safe_dump(settings))
"""


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A checkpoint of the real package: few weights, an encoder and its words beside it."""
    pytest.importorskip("comet", reason="pip install unbabel-comet, see docs/decoding.md")
    made = subprocess.run(
        [sys.executable, "-c", MAKE_UNTRAINED, str(tmp_path)], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return tmp_path / "checkpoints" / "model.ckpt"


@pytest.mark.slow
def test_the_real_package_gives_its_own_score(untrained, files, capsys) -> None:
    from comet import load_from_checkpoint

    assert score.main([*files, "--comet", str(untrained)]) == 0
    found = json.loads(capsys.readouterr().out)["comet"]
    texts = zip(*(TEXTS[name] for name in ("source", "hypotheses", "references")), strict=True)
    data = [dict(zip(("src", "mt", "ref"), text, strict=True)) for text in texts]
    expected = load_from_checkpoint(str(untrained)).predict(data, gpus=0).system_score
    assert found["score"] == pytest.approx(100 * expected, abs=0.006)  # two places are told
    assert f"version:{VERSION}" in found["signature"]
