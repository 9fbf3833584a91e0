"""Tables of choices: what is added can be chosen, described and found by its tags."""

import argparse
from dataclasses import dataclass, fields
from typing import Any

import pytest

from fairseq_memtx.config import (
    CompressiveOptions,
    FeedbackOptions,
    add_flags,
    choices_of,
    from_namespace,
    help_of,
    option,
)
from fairseq_memtx.ground.registry import Registry
from fairseq_memtx.modules.compression import COMPRESSIONS, Conv
from fairseq_memtx.modules.mixture import MIXTURES, LayerMixture


@pytest.fixture
def tools() -> Registry[int]:
    made: Registry[int] = Registry("tool")
    made.add("saw", 1, "cuts", tags=["sharp"])
    made.add("hammer", 2)
    return made


def test_things_are_found_by_name_and_tag_and_described(tools: Registry[int]) -> None:
    assert tools["saw"] == 1 and list(tools) == ["saw", "hammer"]
    assert tools.tagged("sharp") == ("saw",)
    assert tools.describe() == "saw (cuts), hammer"
    tools.remove("saw")
    assert list(tools) == ["hammer"] and tools.tagged("sharp") == ()


def test_a_name_is_given_once(tools: Registry[int]) -> None:
    with pytest.raises(ValueError, match="there is a tool `saw` already"):
        tools.add("saw", 3)


def test_an_option_takes_its_choices_and_its_help_from_the_registry(tools: Registry[int]) -> None:
    @dataclass(frozen=True)
    class Options:
        tool: str = option("saw", "what to use: {choices}", choices=lambda: tools)

    (item,) = fields(Options)
    assert help_of(item) == "what to use: saw (cuts), hammer"
    tools.add("axe", 3, "splits")
    assert choices_of(item) == ("saw", "hammer", "axe")
    parser = argparse.ArgumentParser()
    add_flags(parser, Options)
    assert "axe (splits)" in " ".join(parser.format_help().split())
    assert from_namespace(parser.parse_args(["--memtx-tool", "axe"]), Options).tool == "axe"
    with pytest.raises(SystemExit):
        parser.parse_args(["--memtx-tool", "spoon"])


def help_text(options: type, name: str) -> str:
    return help_of(next(item for item in fields(options) if item.name == name))


@pytest.mark.parametrize(
    "options, name, says",
    [
        (FeedbackOptions, "engine", "reference (the plain loop; same results)"),
        (FeedbackOptions, "memory_mixture", "softmax (learned), mean, first (the embedding)"),
        (CompressiveOptions, "compression", "max-pool, mean-pool, conv, dilated-conv, most-used"),
    ],
)
def test_our_flags_describe_what_is_registered(options: Any, name: str, says: str) -> None:
    assert says in help_text(options, name)


def test_a_new_learned_compression_is_not_missed() -> None:
    class Gated(Conv):
        pass

    COMPRESSIONS.add("gated", Gated)
    try:
        assert CompressiveOptions(compression="gated").has_loss
        assert not CompressiveOptions(compression="gated", compression_loss="bptt").has_loss
    finally:
        COMPRESSIONS.remove("gated")
    with pytest.raises(ValueError, match="it has to be one of max-pool"):
        CompressiveOptions(compression="gated")


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_compression_with_parameters_says_that_it_is_learned(name: str) -> None:
    function = COMPRESSIONS[name]
    assert function.is_learned == any(True for _ in function(4, 2).parameters())


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_with_parameters_says_that_it_is_learned(name: str) -> None:
    mixture = LayerMixture(2, name)
    assert mixture.is_learned == any(True for _ in mixture.parameters())
    assert mixture.probs().sum().item() == pytest.approx(1.0)


def test_a_new_mixture_needs_no_other_place() -> None:
    MIXTURES.add("half", lambda n: 1.0 - 0.5 * (LayerMixture(n - 1, "first").fixed))
    try:
        assert LayerMixture(1, "half").probs().tolist() == pytest.approx([1 / 3, 2 / 3])
    finally:
        MIXTURES.remove("half")
