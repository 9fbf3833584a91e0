"""The table of decoders: light to read, true of the models, and all that a new decoder needs."""

import subprocess
import sys
from argparse import Namespace

import pytest
import torch
from fairseq import options
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.sequence_generator import SequenceGenerator

from fairseq_memtx.decoders import DECODERS, name_of
from fairseq_memtx.generation.generator import FastGenerator, generator_class
from fairseq_memtx.generation.steppers import why_not_fused
from tests.fairseq_memtx import toy_decoder
from tests.fairseq_memtx.searches import generate, same_hypotheses, sample
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens

OURS = [name for name, entry in DECODERS.items() if entry.options is not None]


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_has_a_translation_and_a_language_model(name: str) -> None:
    entry = DECODERS[name]
    assert entry.architecture in MODEL_REGISTRY
    assert entry.language_model in MODEL_REGISTRY
    if name in OURS:
        for size in ("", "_tiny", "_iwslt_de_en", "_wmt_en_de", "_wmt_en_de_big"):
            assert (
                ARCH_MODEL_REGISTRY[entry.architecture + size] is MODEL_REGISTRY[entry.architecture]
            )


@pytest.mark.parametrize("name", DECODERS)
def test_what_the_table_says_is_true_of_the_model(name: str) -> None:
    entry = DECODERS[name]
    decoder = build_model(entry.architecture, **entry.settings(4)).decoder
    assert name_of(decoder) == name
    assert (why_not_fused(decoder) is None) == entry.runs_fused
    assert entry.is_segmented == hasattr(getattr(decoder, "options", None), "segment_len")


@pytest.mark.parametrize("name", DECODERS)
def test_the_flags_of_an_experiment_are_flags_of_the_architecture(name: str) -> None:
    entry = DECODERS[name]
    words = ["data", "--arch", entry.architecture, *entry.experiment_flags(8)]
    args = options.parse_args_and_arch(options.get_training_parser("translation"), words)
    given = entry.settings(8)
    assert {name: getattr(args, name) for name in given} == given


def test_the_lengths_are_those_of_the_published_experiments() -> None:
    assert DECODERS["feedback"].experiment_flags(8) == []
    flags = "--memtx-segment-len 8 --memtx-mem-len 8"
    assert DECODERS["transformer-xl"].experiment_flags(8) == flags.split()
    flags += " --memtx-cmem-len 4"
    assert DECODERS["compressive"].experiment_flags(8) == flags.split()


def test_the_table_is_light_to_read() -> None:
    program = "import sys, fairseq_memtx.decoders; print({'torch', 'fairseq'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"


def test_a_new_decoder_is_built_and_reads_its_own_option() -> None:
    decoder = build_model("memtx_toy", memtx_toy_decay=0.25).decoder
    assert isinstance(decoder, toy_decoder.ToyDecoder)
    assert decoder.options.toy_decay == 0.25
    assert MODEL_REGISTRY["memtx_toy_lm"].decoder_type is toy_decoder.ToyDecoder
    assert MODEL_REGISTRY["memtx_toy_lm"].__name__ == "ToyLanguageModel"


def test_a_new_decoder_is_incremental() -> None:
    decoder = build_model("memtx_toy").decoder
    tokens, source = random_tokens([5, 5]), random_source([3, 4])
    whole, _ = decoder(tokens, source)
    state: dict = {}
    for t in range(tokens.size(1)):
        step, _ = decoder(tokens[:, : t + 1], source, state)
        torch.testing.assert_close(step[:, 0], whole[:, t])


def test_both_generators_find_the_same_with_a_new_decoder() -> None:
    model, batch = build_model("memtx_toy"), sample([4, 2, 5, 3])
    assert generator_class(Namespace(), {}) is FastGenerator
    found = [generate([model], batch, kind=kind) for kind in (FastGenerator, SequenceGenerator)]
    same_hypotheses(*found)
