"""The search over a shortlist, against fairseq's search with all other words made impossible."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.dataclass.configs import GenerationConfig
from fairseq.sequence_generator import SequenceGenerator

from fairseq_memtx.decoding.shortlist import Shortlist
from fairseq_memtx.generation.generator import FastGenerator
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.rounding import is_rounded, round_model
from tests.fairseq_memtx.generation.comparisons import MODELS
from tests.fairseq_memtx.generation.shortlists import ALL, ALWAYS, SIZE, SOME
from tests.fairseq_memtx.searches import generate, same_hypotheses, sample, task_of
from tests.fairseq_memtx.tiny import build_model


def only(model: Any, words: torch.Tensor) -> Any:
    """The model with every other word's probability taken away."""

    def probs(net_output: Any, log_probs: bool, sample: Any = None) -> torch.Tensor:
        logits = torch.full_like(net_output[0], -math.inf)
        logits[..., words] = net_output[0][..., words]
        return logits.float().log_softmax(-1)

    model.get_normalized_probs = probs
    return model


def build(name: str, seed: int = 1) -> Any:
    architecture, settings = MODELS[name]
    return build_model(architecture, seed=seed, **settings)


def without_attention(found: Any) -> Any:
    for hypotheses in found:
        for hypothesis in hypotheses:
            hypothesis["attention"] = torch.empty(0)
    return found


WAYS: dict[str, dict[str, Any]] = {
    "beam": {},
    "greedy": {"beam_size": 1},
    "unknown penalty, minimum": {"unk_penalty": 1.0, "min_len": 3},
    "no repeated pair": {"no_repeat_ngram_size": 2},
    "prefix": {"call": {"prefix_tokens": torch.tensor([[6, 7], [12, 1], [11, 5]])}},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_it_finds_what_fairseq_finds_without_the_other_words(name: str, way: str) -> None:
    batch, how = sample(), WAYS[way]
    words = SOME.words(batch["net_input"]["src_tokens"])
    prefix = how.get("call", {}).get("prefix_tokens")
    if prefix is not None:
        words = torch.cat([words, prefix.flatten()]).unique()
    assert len(words) < SIZE
    got = generate([build(name)], batch, FastGenerator, shortlist=SOME, **how)
    want = generate([only(build(name), words)], batch, SequenceGenerator, **how)
    same_hypotheses(without_attention(got), without_attention(want))


@pytest.mark.parametrize("name", MODELS)
def test_a_list_of_all_words_changes_nothing(name: str) -> None:
    batch = sample()
    got = generate([build(name)], batch, FastGenerator, shortlist=ALL)
    same_hypotheses(got, generate([build(name)], batch, FastGenerator))


def test_an_ensemble_with_a_list() -> None:
    batch = sample()
    words = SOME.words(batch["net_input"]["src_tokens"])
    models = [build("feedback"), build("transformer", seed=2), build("transformer-xl", seed=3)]
    got = generate(models, batch, FastGenerator, shortlist=SOME)
    restricted = [only(model, words) for model in models]
    want = generate(restricted, batch, SequenceGenerator)
    same_hypotheses(without_attention(got), without_attention(want))


def test_a_rounded_model_with_a_list() -> None:
    model, batch = round_model(build("feedback").float()), sample()
    got = generate([model], batch, FastGenerator, shortlist=ALL)
    same_hypotheses(got, generate([model], batch, FastGenerator))


def test_a_beam_that_the_list_is_too_small_for_is_refused() -> None:
    few = Shortlist(torch.full((SIZE, 1), -1, dtype=torch.int32), ALWAYS, SIZE)
    for name in MODELS:
        found = generate([build(name)], sample(), FastGenerator, shortlist=few, beam_size=3)
        assert [len(hypotheses) for hypotheses in found] == [3, 3, 3]
    with pytest.raises(UserError, match="with --memtx-shortlist it has to be at most 3"):
        generate([build("feedback")], sample(), FastGenerator, shortlist=few, beam_size=4)


# --- By flags -----------------------------------------------------------------------------------


def test_the_flag_hands_the_list_to_the_generator(tmp_path: Path) -> None:
    path = tmp_path / "list.npz"
    SOME.save(path)
    task = task_of(tmp_path, generator="fast", shortlist=str(path))
    generator = task.build_generator([build("feedback")], GenerationConfig(beam=3))
    assert torch.equal(generator.shortlist.translations, SOME.translations)
    plain = task_of(tmp_path, generator="fast")
    assert plain.build_generator([build("feedback")], GenerationConfig()).shortlist is None


def test_unusable_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--memtx-generator is .* it has to be fast"):
        task_of(tmp_path, shortlist="list.npz")
    task = task_of(tmp_path, generator="fast", shortlist=str(tmp_path / "no.npz"))
    with pytest.raises(UserError, match=r"--memtx-shortlist: there is no shortlist"):
        task.build_generator([build("feedback")], GenerationConfig())
    path = tmp_path / "other.npz"
    dataclasses.replace(SOME, dictionaries="of others").save(path)
    task = task_of(tmp_path, generator="fast", shortlist=str(path))
    with pytest.raises(UserError, match=r"--memtx-shortlist: .* of the same sizes"):
        task.build_generator([build("feedback")], GenerationConfig())


def test_int8_rounds_what_is_loaded_and_nothing_that_is_trained(tmp_path: Path) -> None:
    from tests.fairseq_memtx.tiny import tiny_settings

    task = task_of(tmp_path, int8=True)
    assert is_rounded(task.build_model(tiny_settings(), from_checkpoint=True))
    assert not is_rounded(task.build_model(tiny_settings()))
    plain = task_of(tmp_path)
    assert not is_rounded(plain.build_model(tiny_settings(), from_checkpoint=True))
    assert is_rounded(plain.build_model(tiny_settings(memtx_int8=True), from_checkpoint=True))


def test_models_in_eight_bits_are_refused_in_half_precision(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    model = round_model(build("feedback").float())
    task.build_generator([model], GenerationConfig())
    for half in (model.half(), model.bfloat16()):
        with pytest.raises(UserError, match="leave half precision out"):
            task.build_generator([half], GenerationConfig())
    task.build_generator([build("feedback").half()], GenerationConfig())
