"""The Feedback model as fairseq sees it: architectures, flags, errors, checkpoints, pruning."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils, options
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_memtx.config import FeedbackOptions
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.models.feedback import FeedbackDecoder, FeedbackTransformerModel
from tests.fairseq_memtx.tiny import (
    build_model,
    random_source,
    random_tokens,
    tiny_dictionary,
    tiny_settings,
)

SIZES = {
    "memtx_feedback": "transformer",
    "memtx_feedback_tiny": "transformer_tiny",
    "memtx_feedback_iwslt_de_en": "transformer_iwslt_de_en",
    "memtx_feedback_wmt_en_de": "transformer_wmt_en_de",
    "memtx_feedback_wmt_en_de_big": "transformer_wmt_en_de_big",
}
SMALL = "--encoder-layers 1 --encoder-embed-dim 8 --encoder-ffn-embed-dim 8 --decoder-layers 2"
SMALL += " --encoder-attention-heads 2 --decoder-attention-heads 2"


def parse(flags: str = "") -> argparse.Namespace:
    """What `fairseq-train DATA --arch memtx_feedback_tiny FLAGS` parses."""
    words = ["DATA", "--arch", "memtx_feedback_tiny", *SMALL.split(), *flags.split()]
    return options.parse_args_and_arch(options.get_training_parser(), words)


def task() -> TranslationTask:
    return TranslationTask(TranslationConfig(), tiny_dictionary(), tiny_dictionary())


# --- Architectures and flags --------------------------------------------------------------------


@pytest.mark.parametrize("arch", SIZES)
def test_an_architecture_has_the_sizes_of_fairseqs_transformer(arch):
    assert ARCH_MODEL_REGISTRY[arch] is FeedbackTransformerModel
    ours, stock = argparse.Namespace(), argparse.Namespace()
    ARCH_CONFIG_REGISTRY[arch](ours)
    ARCH_CONFIG_REGISTRY[SIZES[arch]](stock)
    assert ours == stock


def test_flags_reach_the_decoder():
    flags = "--memtx-memory-mixture 1 --memtx-memory-kv per-layer --memtx-memory-span 7"
    flags += " --memtx-relative-positions 5 --memtx-engine reference"
    decoder = task().build_model(parse(flags)).decoder
    assert isinstance(decoder, FeedbackDecoder)
    assert decoder.options == FeedbackOptions(
        "1", memory_kv="per-layer", memory_span=7, relative_positions=5, engine="reference"
    )
    assert (decoder.memory.span, len(decoder.memory.k_proj)) == (7, 2)
    assert tuple(decoder.memory.distance_keys.shape) == (5, 4)


def test_without_flags_the_options_have_their_defaults_and_all_states_mix_equally():
    args = parse()
    assert not [name for name in vars(args) if name.startswith("memtx_memory")]
    model = task().build_model(args).eval()
    assert model.decoder.options == FeedbackOptions()
    assert torch.equal(model.decoder.memory.mixture.probs(), torch.full((3,), 1 / 3))
    tokens = random_tokens([5, 3])
    logits, _ = model(tokens, torch.tensor([5, 3]), tokens)
    assert logits.shape == (2, 5, len(tiny_dictionary())) and logits.isfinite().all()


def test_the_flags_of_the_transformer_shape_the_decoder():
    flags = "--decoder-layers 3 --decoder-embed-dim 12 --decoder-ffn-embed-dim 6 --dropout 0.25"
    flags += " --decoder-attention-heads 3 --decoder-normalize-before --activation-fn gelu"
    flags += " --attention-dropout 0.1 --activation-dropout 0.2 --decoder-layerdrop 0.3"
    flags += " --share-decoder-input-output-embed --layernorm-embedding"
    decoder = task().build_model(parse(flags)).decoder
    sizes = decoder.layers._modules["0"].sizes
    assert (len(decoder.layers), sizes.embed_dim, sizes.ffn_dim, sizes.num_heads) == (3, 12, 6, 3)
    assert (sizes.encoder_dim, sizes.normalize_before) == (8, True)
    rates = sizes.dropout
    assert (rates.hidden, rates.attention, rates.activation) == (0.25, 0.1, 0.2)
    assert decoder.decoder_layerdrop == 0.3 and decoder.layernorm_embedding is not None
    assert decoder.output_projection.weight is decoder.embed_tokens.weight


# --- What cannot be asked for -------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"memtx_memory_span": -1}, "--memtx-memory-span is -1: it has to be at least 0"),
        (
            {"memtx_relative_positions": -2},
            "--memtx-relative-positions is .* it has to be at least 0",
        ),
        ({"memtx_memory_mixture": "median"}, "--memtx-memory-mixture: .* is 'median'"),
        ({"memtx_memory_mixture": "3"}, "--memtx-memory-mixture: .* is '3': .* from 0 to 2"),
        ({"memtx_memory_mixture": 3}, "--memtx-memory-mixture: .* is '3': .* from 0 to 2"),
        ({"memtx_memory_channels": 0}, "--memtx-memory-channels is 0: it has to be at least 1"),
        ({"memtx_memory_channels": 3}, "--memtx-memory-channels is 3: it has to be at most 2"),
        (
            {"memtx_memory_kv": "none"},
            "--memtx-memory-kv is none: it has to be one of shared, per-layer",
        ),
        ({"memtx_engine": "fast"}, "--memtx-engine is fast: it has to be one of .*reference"),
        *(
            (
                {f"{kind}dropout": rate},
                f"--{kind.replace('_', '-')}dropout is {rate}: it has to be",
            )
            for kind in ("", "attention_", "activation_")
            for rate in (1.0, -0.1)
        ),
        ({"relu_dropout": 1.5}, "--activation-dropout is 1.5: it has to be at least 0 and below 1"),
        (
            {"decoder_layers_to_keep": "x", "encoder_layers_to_keep": "0"},
            "--decoder-layers-to-keep is 'x': it has to be numbers separated by commas",
        ),
        (
            {"decoder_attention_heads": 0},
            "--decoder-attention-heads: .* is 0: it has to be at least 1",
        ),
        (
            {"decoder_attention_heads": 3},
            "--decoder-attention-heads: .* is 8: .* 3 attention heads",
        ),
    ],
)
def test_an_impossible_option_is_refused_by_its_flag(settings, message):
    with pytest.raises(UserError, match=f"^{message}") as error:
        build_model(**settings)
    assert "\n" not in str(error.value)


def test_a_recurrent_memory_refuses_to_see_the_whole_target(tiny_decoder):
    with pytest.raises(UserError, match="--full-context-alignment"):
        tiny_decoder()(random_tokens([3]), random_source([2]), full_context_alignment=True)


# --- Parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"decoder_normalize_before": True, "memtx_memory_kv": "per-layer"},
        {"layernorm_embedding": True, "decoder_learned_pos": True, "decoder_output_dim": 4},
        {"no_cross_attention": True, "memtx_relative_positions": 2},
        {"adaptive_softmax_cutoff": "4,8", "adaptive_softmax_factor": 2},
    ],
)
def test_parameters_that_are_shared_with_the_transformer_have_its_names_and_shapes(settings):
    ours = {k: v.shape for k, v in build_model(**settings).state_dict().items()}
    stock = {k: v.shape for k, v in build_model("transformer", **settings).state_dict().items()}
    assert {k: v for k, v in ours.items() if k in stock} == {
        k: v for k, v in stock.items() if k in ours
    }
    assert all(name.startswith("decoder.memory.") for name in ours.keys() - stock.keys())
    replaced = (".self_attn.k_proj.", ".self_attn.v_proj.")
    assert all(any(part in name for part in replaced) for name in stock.keys() - ours.keys())


def test_spans_and_engines_change_no_parameter(tiny_decoder):
    plain = tiny_decoder().state_dict()
    other = tiny_decoder(memtx_memory_span=3, memtx_engine="reference").state_dict()
    assert {k: v.shape for k, v in other.items()} == {k: v.shape for k, v in plain.items()}


def test_the_longest_target_is_fairseqs(tiny_decoder):
    stock = build_model("transformer")
    assert build_model().max_decoder_positions() == stock.max_decoder_positions() == 64
    tiny = tiny_decoder(decoder_learned_pos=True, max_target_positions=9)
    assert tiny.max_positions() == 9


# --- Checkpoints --------------------------------------------------------------------------------


def save(path: Path, args: argparse.Namespace, model: Any) -> str:
    """A checkpoint as fairseq's older versions wrote it, with the settings as a namespace."""
    state = {
        "args": args,
        "model": model.state_dict(),
        "optimizer_history": [
            {"criterion_name": "CrossEntropyCriterion", "optimizer_name": "FairseqAdam"}
            | {"lr_scheduler_state": {}, "num_updates": 3}
        ],
        "extra_state": {"epoch": 1, "train_iterator": {"epoch": 1}},
    }
    torch.save(state, path)
    return str(path)


def load(path: str, **overrides: Any) -> Any:
    """The model of a checkpoint as `fairseq-generate --model-overrides` loads it."""
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [path], task=task(), arg_overrides=overrides
    )
    return models[0].eval()


def same_outputs(got: Any, want: Any) -> bool:
    torch.manual_seed(4)
    tokens = random_tokens([5, 3])
    with torch.no_grad():
        outputs = [model(tokens, torch.tensor([5, 3]), tokens)[0] for model in (got, want)]
    return torch.allclose(*outputs, rtol=1e-5, atol=1e-6)


def trained(**settings: Any) -> tuple[argparse.Namespace, Any]:
    """Settings and a model with weights that are not those of a fresh one."""
    return tiny_settings(**settings), build_model(**settings).float()


def test_a_saved_model_comes_back(tmp_path):
    settings = {"memtx_memory_kv": "per-layer", "memtx_relative_positions": 4}
    settings |= {"memtx_memory_mixture": "mean", "adaptive_softmax_cutoff": "4,8"}
    settings |= {"adaptive_softmax_factor": 2, "memtx_memory_span": 2}
    args, model = trained(**settings)
    back = load(save(tmp_path / "model.pt", args, model))
    assert back.decoder.options == model.decoder.options
    assert same_outputs(back, model)


def test_a_checkpoint_without_our_settings_gets_their_defaults(tmp_path):
    args, model = trained()
    assert not [name for name in vars(args) if name.startswith("memtx_")]
    back = load(save(tmp_path / "model.pt", args, model))
    assert back.decoder.options == FeedbackOptions()
    assert same_outputs(back, model)


def test_the_span_can_be_changed_when_decoding(tmp_path):
    args, model = trained(memtx_memory_span=1)
    longer = load(save(tmp_path / "model.pt", args, model), memtx_memory_span=3)
    assert longer.decoder.memory.span == 3
    assert same_outputs(longer, build_model(memtx_memory_span=3).float())
    assert not same_outputs(longer, model)


def test_an_impossible_override_is_refused_by_its_flag(tmp_path):
    path = save(tmp_path / "model.pt", *trained())
    with pytest.raises(UserError, match="--memtx-memory-span"):
        load(path, memtx_memory_span=-3)


def pruned_from(whole: Any, keep: str, **settings: Any) -> Any:
    """The decoder's layers `keep` of a whole model, loaded as fairseq does."""
    # fairseq forgets the layers of a side without a list, so that both have one
    args = tiny_settings(decoder_layers_to_keep=keep, encoder_layers_to_keep="0", **settings)
    pruned = build_model(**vars(args))
    pruned.load_state_dict(whole.state_dict(), model_cfg=args)
    return pruned


def leave_out(model: Any, kept: set[int]) -> None:
    """Let layer drop leave out all layers of the decoder but these."""
    layers = list(model.decoder.layers)
    model.decoder.kept_layers = lambda: [x if i in kept else None for i, x in enumerate(layers)]


@pytest.mark.parametrize("mixture", ["softmax", "routed", "first", "last", "2", "3", "4"])
@pytest.mark.parametrize("keep, kv", [("0,2", "shared"), ("3,0", "per-layer"), ("2", "per-layer")])
def test_a_pruned_model_is_the_whole_one_whose_other_layers_are_dropped(mixture, keep, kv):
    settings = {"decoder_layers": 4, "memtx_memory_mixture": mixture, "memtx_memory_kv": kv}
    whole = build_model(**settings)
    pruned = pruned_from(whole, keep, **settings)
    kept = {int(number) for number in keep.split(",")}
    assert len(pruned.decoder.layers) == len(kept)
    states = pruned.decoder.memory.mixture.num_states
    assert states == (5 if mixture == "routed" else len(kept) + 1)
    leave_out(whole, kept)
    assert same_outputs(pruned, whole)


@pytest.mark.parametrize("mixture", ["softmax", "routed", "last"])
@pytest.mark.parametrize("channels, kv", [(2, "shared"), (3, "shared"), (2, "per-layer")])
@pytest.mark.parametrize("keep", ["0,2", "1,2,3", "2"])
def test_a_pruned_model_keeps_the_channels_that_its_layers_read(mixture, channels, kv, keep):
    settings = {"decoder_layers": 4, "memtx_memory_mixture": mixture, "memtx_memory_kv": kv}
    settings["memtx_memory_channels"] = channels
    whole = build_model(**settings)
    pruned = pruned_from(whole, keep, **settings)
    kept = {int(number) for number in keep.split(",")}
    read = {number % channels for number in kept}
    assert len(pruned.decoder.memory.k_proj) == (len(read) if kv == "shared" else len(kept))
    assert pruned.decoder.memory.mixture.channels == len(read)
    leave_out(whole, kept)
    assert same_outputs(pruned, whole)


def test_a_pruned_decoder_with_a_routed_memory_is_for_decoding_alone():
    settings = {"decoder_layers": 3, "memtx_memory_mixture": "routed"}
    pruned = pruned_from(build_model(**settings), "0,2", **settings).train()
    with pytest.raises(UserError, match="--decoder-layers-to-keep is for decoding alone with"):
        pruned.decoder(random_tokens([3]), random_source([3]))


def test_the_comparison_notices_a_pruning_that_drops_a_layers_share_of_the_mixture():
    whole = build_model(decoder_layers=4)
    pruned = pruned_from(whole, "0,2", decoder_layers=4)
    leave_out(whole, {0, 2})
    assert same_outputs(pruned, whole)
    with torch.no_grad():
        pruned.decoder.memory.mixture.weight.copy_(whole.decoder.memory.mixture.weight[[0, 1, 3]])
    assert not same_outputs(pruned, whole)


def test_a_checkpoint_is_pruned_by_overrides_for_both_sides(tmp_path):
    args, model = trained(decoder_layers=3, encoder_layers=2)
    path = save(tmp_path / "model.pt", args, model)
    both = load(path, decoder_layers_to_keep="0,2", encoder_layers_to_keep="1")
    assert (len(both.encoder.layers), len(both.decoder.layers)) == (1, 2)
    leave_out(model, {0, 2})
    model.encoder.layers = torch.nn.ModuleList([model.encoder.layers[1]])
    assert same_outputs(both, model)


def test_settings_of_one_model_do_not_leak_into_the_next():
    first = build_model(decoder_layers=3, memtx_memory_span=4).decoder
    second = build_model().decoder
    assert (len(first.layers), len(second.layers)) == (3, 2)
    assert (first.options.memory_span, second.options.memory_span) == (4, 0)
    assert not [n for n in vars(tiny_settings()) if n.startswith("memtx_")]
