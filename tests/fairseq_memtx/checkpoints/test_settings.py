"""Settings are the same, in whatever form a training left them."""

import argparse
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from fairseq_memtx.checkpoints import settings

MODEL = {"_name": "transformer", "decoder_layers": 2, "dropout": 0.1}
TASK = {"_name": "translation", "data": "bin", "source_lang": "en"}
FLAT = {"arch": "transformer", "task": "translation", "decoder_layers": 2, "dropout": 0.1,
        "data": "bin", "source_lang": "en"}  # fmt: skip
FORMS: dict[str, dict[str, Any]] = {
    "fairseq-train": {"cfg": {"model": argparse.Namespace(**MODEL), "task": TASK}},
    "fairseq-hydra-train": {"args": None, "cfg": {"model": MODEL, "task": TASK}},
    "omegaconf": {"cfg": OmegaConf.create({"model": MODEL, "task": TASK})},
    "args": {"args": argparse.Namespace(**FLAT), "cfg": None},
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_say_the_same(form: str) -> None:
    state = {key: None if value is None else settings.plain(value)
             for key, value in FORMS[form].items()}  # fmt: skip
    found = settings.of(state)
    assert {name: found["model"][name] for name in MODEL} == MODEL
    assert {name: found["task"][name] for name in TASK} == TASK
    assert found["generation"] == {} or form == "args"
    settings.change(state, "task", "_name", "memtx_translation")
    settings.change(state, "model", "dropout", 0.5)
    assert settings.of(state)["task"]["_name"] == "memtx_translation"
    assert settings.of(state)["model"]["dropout"] == 0.5


def test_values_stay_as_they_are() -> None:
    held = {"a": [1, 2.5, None, True, "x"], "b": {"c": np.float64(0.5), 3: ()}, "d": "${e.f}"}
    assert settings.plain(OmegaConf.create({"a": [1, {"b": None}]})) == {"a": [1, {"b": None}]}
    assert settings.plain(held) == {**held, "b": {"c": 0.5, 3: []}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": object()}, "hold an object of the kind `object`"),
        ({"a": "${oc.env:HOME}"}, "hold the expression"),
        ({"a": "x${b}${b}"}, "hold the expression"),
        ({(1, 2): 3}, "have names that are no text"),
        ({"a": 2**70}, "beyond"),
        ([0] * 30_000, "without end"),
        (["x" * 5_000_000], "without end"),
    ],
)
def test_what_is_no_setting_is_refused(value: Any, message: str) -> None:
    with pytest.raises(settings.Unreadable, match=message):
        settings.plain(value)


def test_what_refers_to_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(settings.Unreadable, match="without end"):
        settings.plain(circle)


def test_what_lies_in_itself_is_refused() -> None:
    """It has an end for us, who look at contents alone; omegaconf asks for parents."""
    config = OmegaConf.create({"a": {"b": {"c": 1}}})
    assert settings.plain(config.a.b) == {"c": 1}
    config.a.__dict__["_parent"] = config.a.b
    for part in (config.a, config.a.b):
        with pytest.raises(settings.Unreadable, match="without end"):
            settings.plain(part)
