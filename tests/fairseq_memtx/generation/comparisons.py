"""Our generator beside fairseq's: models, ways to search, and what both find."""

import itertools
from typing import Any

import torch
from fairseq import search
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment

from fairseq_memtx.generation.generator import (
    FastGenerator,
    FastGeneratorWithAlignment,
)
from tests.fairseq_memtx.searches import DICTIONARY, generate, same_hypotheses

SEGMENTS = {"memtx_segment_len": 4, "memtx_mem_len": 4}


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("transformer", {}),
    "feedback": ("memtx_feedback", {}),
    "transformer-xl": ("memtx_transformer_xl", SEGMENTS),
    "compressive": (
        "memtx_compressive",
        {**SEGMENTS, "memtx_cmem_len": 2, "memtx_compression_rate": 2},
    ),
}


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "long": {"max_len_b": 30},
    "short": {"max_len_a": 0.5, "max_len_b": 1},
    "length penalty 0.6": {"len_penalty": 0.6},
    "length penalty 1.5, minimum": {"len_penalty": 1.5, "min_len": 4},
    "no minimum": {"min_len": 0},
    "unnormalised": {"normalize_scores": False},
    "unknown penalty, temperature": {"unk_penalty": 1.5, "temperature": 0.7},
    "source length": {"match_source_len": True},
    "prefix": {"call": {"prefix_tokens": torch.tensor([[6, 7], [8, 1], [5, 5], [1, 1]])}},
    "prefix that ends": {"call": {"prefix_tokens": torch.tensor([[6, 2], [8, 9], [5, 1], [7, 2]])}},
    "no repeated pair": {"no_repeat_ngram_size": 2, "max_len_b": 12},
}


BATCHES = [[4, 2, 5, 3], [3, 3, 3, 3]]


def both(models: list[Any], batch: dict[str, Any], align: str = "", **way: Any) -> tuple[Any, Any]:
    """Hypotheses of our generator and of fairseq's."""
    stock = dict(way)
    if way.get("match_source_len"):  # as fairseq's tasks do
        stock["search_strategy"] = search.LengthConstrainedBeamSearch(DICTIONARY, 1, 0, 1, 0)
    if align:
        kinds: Any = (FastGeneratorWithAlignment, SequenceGeneratorWithAlignment)
        way["print_alignment"] = stock["print_alignment"] = align
    else:
        kinds = (FastGenerator, SequenceGenerator)
    got = generate(models, batch, kinds[0], **way)
    want = generate(models, batch, kinds[1], **stock)
    if not align:  # ours computes no attention that nobody asked for
        for hypo in itertools.chain.from_iterable([*got, *want]):
            hypo["attention"] = torch.empty(0)
    return got, want


def check(models: list[Any], batch: dict[str, Any], **how: Any) -> None:
    got, want = both(models, batch, **how)
    same_hypotheses(got, want)


SETTINGS: dict[str, dict[str, Any]] = {
    "learned positions": {"decoder_learned_pos": True},
    "no positions": {"no_token_positional_embeddings": True},
    "embedding norm": {"layernorm_embedding": True, "no_scale_embedding": True},
    "other output dim": {"decoder_output_dim": 4},
    "adaptive softmax": {"adaptive_softmax_cutoff": "4,8", "adaptive_softmax_factor": 2},
    "gelu": {"activation_fn": "gelu"},
}


OF_FEEDBACK: dict[str, dict[str, Any]] = {
    "per-layer": {"memtx_memory_kv": "per-layer", "decoder_layers": 3},
    "last layer's memory": {"memtx_memory_mixture": "last"},
    "routed": {"memtx_memory_mixture": "routed"},
    "routed channels": {
        "memtx_memory_mixture": "routed",
        "memtx_memory_channels": 2,
        "memtx_memory_kv": "per-layer",
        "decoder_layers": 3,
    },
    "channels": {"memtx_memory_channels": 2, "decoder_layers": 3},
    "span": {"memtx_memory_span": 2},
    "relative positions": {"memtx_relative_positions": 3},
}
