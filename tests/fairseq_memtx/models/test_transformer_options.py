"""Every option of fairseq's Transformer is honoured by the memory decoders, or refused.

The lists are held to fairseq's own: an option that a new version adds must be put into one.
"""

from dataclasses import fields
from typing import Any

import pytest
import torch
from fairseq.models.transformer.transformer_config import (
    DecoderConfig,
    EncDecBaseConfig,
    QuantNoiseConfig,
    TransformerConfig,
)
from fairseq.models.transformer_lm import TransformerLanguageModelConfig
from torch import Tensor

from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.tiny import (
    build_lm,
    build_model,
    random_source,
    random_tokens,
    tiny_dictionary,
)

MODELS = ("memtx_feedback", "memtx_transformer_xl", "memtx_compressive")
SEGMENTS = MODELS[1:]

#: A value of each option that the decoder honours, and what must be given with it.
HONOURED: dict[str, dict[str, Any]] = {
    "activation_fn": {"activation_fn": "gelu"},
    "dropout": {"dropout": 0.5},
    "attention_dropout": {"attention_dropout": 0.5},
    "activation_dropout": {"activation_dropout": 0.5},
    "relu_dropout": {"relu_dropout": 0.5},
    "decoder_embed_dim": {"decoder_embed_dim": 12},
    "decoder_ffn_embed_dim": {"decoder_ffn_embed_dim": 7},
    "decoder_layers": {"decoder_layers": 3},
    "decoder_attention_heads": {"decoder_attention_heads": 1},
    "decoder_normalize_before": {"decoder_normalize_before": True},
    "no_decoder_final_norm": {"decoder_normalize_before": True, "no_decoder_final_norm": True},
    "decoder_learned_pos": {"decoder_learned_pos": True},
    "decoder_layerdrop": {"decoder_layerdrop": 0.99},
    "decoder_layers_to_keep": {"decoder_layers_to_keep": "1"},
    "decoder_output_dim": {"decoder_output_dim": 4},
    "max_target_positions": {"max_target_positions": 9},
    "share_decoder_input_output_embed": {"share_decoder_input_output_embed": True},
    "no_token_positional_embeddings": {"no_token_positional_embeddings": True},
    "adaptive_softmax_cutoff": {"adaptive_softmax_cutoff": "4,8", "adaptive_softmax_factor": 2},
    "adaptive_softmax_factor": {"adaptive_softmax_cutoff": "4,8", "adaptive_softmax_factor": 1},
    "adaptive_softmax_dropout": {
        "adaptive_softmax_cutoff": "4,8",
        "adaptive_softmax_factor": 1,
        "adaptive_softmax_dropout": 0.5,
    },
    "layernorm_embedding": {"layernorm_embedding": True},
    "no_scale_embedding": {"no_scale_embedding": True},
}
#: Those that an option is compared with, where they are not the defaults.
COMPARED_WITH = {
    "no_decoder_final_norm": "decoder_normalize_before",
    "adaptive_softmax_factor": "adaptive_softmax_cutoff",
    "adaptive_softmax_dropout": "adaptive_softmax_factor",
    "share_all_embeddings": "decoder_embed_dim",  # which must be the encoder's
    "merge_src_tgt_embed": "decoder_embed_dim",
}
#: Only translation models have them.
HONOURED_IN_TRANSLATION: dict[str, dict[str, Any]] = {
    "decoder_embed_path": {"decoder_embed_path": "FILE"},
    "share_all_embeddings": {"share_all_embeddings": True, "decoder_embed_dim": 12},
    "merge_src_tgt_embed": {"merge_src_tgt_embed": True, "decoder_embed_dim": 12},
    "no_cross_attention": {"no_cross_attention": True},
}
REFUSED: dict[str, dict[str, Any]] = {
    "offload_activations": {"offload_activations": True, "checkpoint_activations": True},
    "base_layers": {"base_layers": 1},
    "quant_noise_pq": {"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 2},
    "quant_noise_scalar": {"quant_noise_scalar": 0.1},
    "adaptive_input": {"adaptive_input": True},
    "tie_adaptive_weights": {"tie_adaptive_weights": True},
    "tie_adaptive_proj": {"tie_adaptive_proj": True},
    "decoder_xformers_att_config": {"decoder_xformers_att_config": "{}"},
}
REFUSED_IN_TRANSLATION: dict[str, dict[str, Any]] = {
    "cross_self_attention": {"cross_self_attention": True},
    "char_inputs": {"char_inputs": True},
    "decoder_input_dim": {"decoder_input_dim": 4},  # fairseq's translation ignores it
}
REFUSED_IN_LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "character_embeddings": {"character_embeddings": True},
    **{name: {name: True} for name in ("scale_fc", "scale_attn", "scale_heads", "scale_resids")},
}
#: What nothing depends on in a decoder that was not refused.
BELONGS_TO_REFUSED = {
    "quant_noise_pq_block_size", "base_sublayers", "base_shuffle", "character_filters",
    "character_embedding_dim", "char_embedder_highway_layers", "adaptive_input_factor",
    "adaptive_input_cutoff",
}  # fmt: skip
#: With tests of their own; the encoder's; the task's; fairscale's sharding; and `export`, by which
#: fairseq replaces the layer norm of apex by torch's, the only one in our layers.
ELSEWHERE = {
    "checkpoint_activations", "max_source_positions", "add_bos_token", "tokens_per_sample", "tpu",
    "min_params_to_wrap", "export",
}  # fmt: skip


def names_of(config: type, prefix: str = "") -> set[str]:
    return {prefix + item.name for item in fields(config)} - {prefix + "_name"}


def test_the_lists_hold_every_option_of_the_translation_model():
    mine = {*HONOURED, *HONOURED_IN_TRANSLATION, *REFUSED, *REFUSED_IN_TRANSLATION}
    encoder = names_of(EncDecBaseConfig, "encoder_")
    found = names_of(TransformerConfig) - {"encoder", "decoder", "quant_noise"}
    found |= names_of(DecoderConfig, "decoder_") | names_of(QuantNoiseConfig, "quant_noise_")
    assert found - mine - BELONGS_TO_REFUSED - ELSEWHERE - encoder == set()
    assert mine <= found


def test_the_lists_hold_every_option_of_the_language_model():
    mine = {*HONOURED, *REFUSED, *REFUSED_IN_LANGUAGE_MODELS, "decoder_input_dim"}
    found = names_of(TransformerLanguageModelConfig)
    assert found - mine - BELONGS_TO_REFUSED - ELSEWHERE == set()
    assert mine <= found


def build(model: str, **settings: Any) -> Any:
    return build_model(model, arch=model, **settings)


def behaviour(model: Any) -> tuple[Any, ...]:
    """What can be seen of a decoder: its parameters' names and shapes, and probabilities."""
    decoder = model.decoder.train()
    torch.manual_seed(2)
    tokens, source = random_tokens([6, 4]), random_source([3, 5])
    if not hasattr(model, "encoder"):
        source = None
    features = decoder(tokens, source)
    logp = model.get_normalized_probs(features, log_probs=True, sample={"target": tokens})
    shapes = {(name, tuple(p.shape)) for name, p in decoder.named_parameters()}
    shared = decoder.output_projection is not None and (
        decoder.output_projection.weight is decoder.embed_tokens.weight
    )
    one_table = source is not None and model.encoder.embed_tokens is decoder.embed_tokens
    return shapes, shared, one_table, decoder.max_positions(), logp


def differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one[:-1] != other[:-1] or not torch.allclose(one[-1], other[-1])


def honoured_by(model: str) -> dict[str, dict[str, Any]]:
    options = {**HONOURED, **HONOURED_IN_TRANSLATION}
    if model in SEGMENTS:  # their positions are relative
        del options["decoder_learned_pos"], options["no_token_positional_embeddings"]
    return options


@pytest.mark.parametrize(
    "model, option", [(model, option) for model in MODELS for option in honoured_by(model)]
)
def test_an_option_of_the_decoder_has_an_effect(model, option, tmp_path):
    options = honoured_by(model)
    settings = dict(options[option])
    if option == "decoder_embed_path":
        table = torch.arange(8.0 * len(tiny_dictionary())).view(-1, 8)
        write_embedding(tmp_path / "table", table)
        settings["decoder_embed_path"] = str(tmp_path / "table")
    if "decoder_layers_to_keep" in settings:
        settings["encoder_layers_to_keep"] = "0"  # fairseq wants a list for both sides
    before = options.get(COMPARED_WITH.get(option, ""), {})
    assert differ(behaviour(build(model, **settings)), behaviour(build(model, **before)))


def write_embedding(path: Any, table: Tensor) -> None:
    """In the form that fairseq reads: a line of sizes, then a word and its numbers."""
    rows = [f"{len(table)} {table.size(1)}"]
    for word, row in zip(tiny_dictionary().symbols, table.tolist(), strict=True):
        rows.append(" ".join([word, *map(str, row)]))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_behaves_the_same_when_built_twice(model):
    """Negative control of the test above."""
    assert not differ(behaviour(build(model)), behaviour(build(model)))


@pytest.mark.parametrize("model", SEGMENTS)
def test_decoders_without_absolute_positions_have_none_to_leave_out(model):
    without = build(model, no_token_positional_embeddings=True)
    assert not differ(behaviour(build(model)), behaviour(without))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("option", [*REFUSED, *REFUSED_IN_TRANSLATION])
def test_what_cannot_apply_is_refused_by_its_flag(model, option):
    flag = "--" + option.replace("_", "-")
    with pytest.raises(UserError, match=f"{flag} (cannot|is)") as error:
        build(model, **{**REFUSED, **REFUSED_IN_TRANSLATION}[option])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", SEGMENTS)
def test_learned_absolute_positions_are_refused_where_positions_are_relative(model):
    with pytest.raises(UserError, match=r"--decoder-learned-pos cannot .* --memtx-position-keys"):
        build(model, decoder_learned_pos=True)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shared", ["share_all_embeddings", "share_decoder_input_output_embed"])
def test_an_output_unlike_the_shared_embedding_is_refused(model, shared):
    settings = {shared: True, "encoder_embed_dim": 8, "decoder_output_dim": 4}
    with pytest.raises(UserError, match=r"--decoder-output-dim is 4: .* 8"):
        build(model, **settings)


@pytest.mark.parametrize(
    "model, relative, kept",
    [
        ("memtx_feedback", 0, False),
        ("memtx_feedback", 3, True),
        *((name, 0, True) for name in SEGMENTS),
    ],
)
def test_an_encoder_keeps_its_positions_beside_relative_ones(model, relative, kept):
    """It would not know the order of its words otherwise."""
    settings = {"memtx_relative_positions": relative} if relative else {}
    built = build(model, no_token_positional_embeddings=True, **settings)
    assert built.decoder.embed_positions is None
    assert (built.encoder.embed_positions is not None) == kept


# --- Language models ----------------------------------------------------------------------------


def honoured_by_lm(model: str) -> dict[str, dict[str, Any]]:
    options = {**HONOURED, "decoder_input_dim": {"decoder_input_dim": 6}}
    for name in HONOURED_IN_TRANSLATION:
        options.pop(name, None)
    del options["decoder_normalize_before"]  # fairseq's language models always are
    if model in SEGMENTS:
        del options["decoder_learned_pos"], options["no_token_positional_embeddings"]
    return options


@pytest.mark.parametrize(
    "model, option", [(model, option) for model in MODELS for option in honoured_by_lm(model)]
)
def test_an_option_of_the_language_model_has_an_effect(model, option):
    options = honoured_by_lm(model)
    before = options.get(COMPARED_WITH.get(option, ""), {})
    assert differ(
        behaviour(build_lm(model, **options[option])), behaviour(build_lm(model, **before))
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("option", [*REFUSED, *REFUSED_IN_LANGUAGE_MODELS])
def test_what_a_language_model_cannot_apply_is_refused_by_its_flag(model, option):
    flag = "--" + option.replace("_", "-")
    with pytest.raises(UserError, match=f"{flag} cannot"):
        build_lm(model, **{**REFUSED, **REFUSED_IN_LANGUAGE_MODELS}[option])
