"""Tiny Feedback models in float64, and batches for them."""

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.models.transformer import transformer_legacy
from fairseq.models.transformer_lm import base_lm_architecture
from torch import Tensor

import fairseq_memtx.plugin  # noqa: F401  (registers the models)

WORDS = 9
ENCODER_DIM = 12


def tiny_dictionary() -> Dictionary:
    """fairseq's four special symbols and `WORDS` words."""
    dictionary = Dictionary()
    for number in range(WORDS):
        dictionary.add_symbol(f"w{number}")
    return dictionary


def tiny_settings(**settings: Any) -> Namespace:
    """fairseq's settings of a model of a few hundred parameters, without dropout."""
    sizes = {
        "arch": "memtx_feedback",
        "encoder_embed_dim": ENCODER_DIM,
        "encoder_ffn_embed_dim": 10,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_embed_dim": 8,
        "decoder_ffn_embed_dim": 10,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_layers_to_keep": None,
        "encoder_layers_to_keep": None,
        "max_source_positions": 64,
        "max_target_positions": 64,
        "dropout": 0.0,
    }
    args = Namespace(**{**sizes, **settings})
    transformer_legacy.base_architecture(args)
    return args


def scatter_weights(module: torch.nn.Module, seed: int = 1) -> None:
    """Move every weight away from its start, where zeros and ones would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.3 * noise)
        for part in module.modules():
            if isinstance(part, torch.nn.Embedding) and part.padding_idx is not None:
                part.weight[part.padding_idx] = 0.0


def build_model(
    model: str = "memtx_feedback",
    seed: int = 1,
    words: Dictionary | None = None,
    scattered: bool = True,
    **settings: Any,
):
    """A tiny model in float64 with scattered weights, in evaluation mode."""
    args = tiny_settings(**settings)
    dictionary = words or tiny_dictionary()
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    torch.manual_seed(seed)
    built = ARCH_MODEL_REGISTRY[model].build_model(args, task).double().eval()
    if scattered:
        scatter_weights(built, seed)
    return built


def random_tokens(lengths: list[int], sides: str = "right", first: int | None = None) -> Tensor:
    """Random words `(B, T)` of the given lengths, starting with `first` (None: fairseq's eos).

    Padding is on the "right", on the "left", or on "both" sides: right and left in turn.
    """
    dictionary = tiny_dictionary()
    tokens = torch.full((len(lengths), max(lengths)), dictionary.pad())
    for number, (row, length) in enumerate(zip(tokens, lengths, strict=True)):
        words = torch.randint(dictionary.nspecial, len(dictionary), (length,))
        words[0] = dictionary.eos() if first is None else first
        row[:length] = words
        if sides == "left" or (sides == "both" and number % 2 == 0):
            row.copy_(row.roll(row.numel() - length))
    return tokens


def random_source(lengths: list[int], **kwargs: Any) -> dict[str, list[Tensor]]:
    """A made-up encoder output in float64 for sentences of the given lengths, padded right."""
    size = max(lengths)
    padding = torch.arange(size)[None] >= torch.tensor(lengths)[:, None]
    values = torch.randn(size, len(lengths), ENCODER_DIM, dtype=torch.float64, **kwargs)
    return {"encoder_out": [values], "encoder_padding_mask": [padding]}


def select_source(source: dict[str, list[Tensor]], rows: Tensor) -> dict[str, list[Tensor]]:
    """The sentences `rows` of an encoder output."""
    return {
        "encoder_out": [x.index_select(1, rows) for x in source["encoder_out"]],
        "encoder_padding_mask": [x.index_select(0, rows) for x in source["encoder_padding_mask"]],
    }


def build_lm(model: str, **settings: Any) -> Any:
    name = model + "_lm"
    sizes = {"decoder_embed_dim": 8, "decoder_ffn_embed_dim": 10, "decoder_attention_heads": 2}
    args = {"arch": name, "decoder_layers": 2, "dropout": 0.0, "tokens_per_sample": 64, **sizes}
    args = Namespace(**{**args, **settings})
    base_lm_architecture(args)
    dictionary = tiny_dictionary()
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    torch.manual_seed(1)
    return ARCH_MODEL_REGISTRY[name].build_model(args, task).double()
