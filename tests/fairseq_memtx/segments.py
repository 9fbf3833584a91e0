"""Decoders that work in segments, tiny ones, with batches and a criterion for them."""

from types import SimpleNamespace

import torch

from fairseq_memtx.criterions.compression import CompressionCriterion
from tests.fairseq_memtx.tiny import (
    build_model,
    random_tokens,
    tiny_dictionary,
)

EXACT = {"rtol": 1e-9, "atol": 1e-11}


SHORT = {"memtx_segment_len": 4, "memtx_mem_len": 4}


COMPRESSIVE = {**SHORT, "memtx_cmem_len": 3, "memtx_compression_rate": 2}


CASES = {
    "xl": ("memtx_transformer_xl", SHORT),
    "xl, pre-norm": ("memtx_transformer_xl", {**SHORT, "decoder_normalize_before": True}),
    "xl, long memory": ("memtx_transformer_xl", {**SHORT, "memtx_mem_len": 50}),
    "xl, learned": ("memtx_transformer_xl", {**SHORT, "memtx_position_keys": "learned"}),
    "xl, layer 1 alone": ("memtx_transformer_xl", {**SHORT, "memtx_memory_layers": "1"}),
    "xl, same length": ("memtx_transformer_xl", {**SHORT, "memtx_same_length": True}),
    "conv": ("memtx_compressive", COMPRESSIVE),
    "dilated, pre-norm": (
        "memtx_compressive",
        {**COMPRESSIVE, "memtx_compression": "dilated-conv", "decoder_normalize_before": True},
    ),
    "most-used": ("memtx_compressive", {**COMPRESSIVE, "memtx_compression": "most-used"}),
    "auto-encoding": (
        "memtx_compressive",
        {**COMPRESSIVE, "memtx_compression_loss": "auto-encoding"},
    ),
}


def build(case: str = "conv", **settings):
    model, options = CASES[case]
    return build_model(model, arch=model, **{**options, **settings})


def sample_of(source_lengths: list[int], target_lengths: list[int] | None) -> dict:
    torch.manual_seed(3)
    dictionary = tiny_dictionary()
    source = random_tokens(source_lengths, "left")
    net_input = {"src_tokens": source, "src_lengths": torch.tensor(source_lengths)}
    sample = {"id": torch.arange(len(source)), "nsentences": len(source), "net_input": net_input}
    if target_lengths is not None:
        previous = random_tokens(target_lengths)
        target = previous.roll(-1, dims=1)
        target[previous.eq(dictionary.pad())] = dictionary.pad()
        for row, length in zip(target, target_lengths, strict=True):
            row[length - 1], row[length:] = dictionary.eos(), dictionary.pad()
        net_input["prev_output_tokens"] = previous
        sample.update(target=target, ntokens=sum(target_lengths))
    return sample


def criterion(**settings) -> CompressionCriterion:
    task = SimpleNamespace(target_dictionary=tiny_dictionary())
    return CompressionCriterion(task, sentence_avg=False, label_smoothing=0.1, **settings)
