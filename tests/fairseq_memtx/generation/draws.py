"""Models, batches and options drawn at random, for two searches to be compared."""

from random import Random
from typing import Any

import torch

from tests.fairseq_memtx.searches import DICTIONARY
from tests.fairseq_memtx.tiny import build_model

EOS, PAD, SIZE = DICTIONARY.eos(), DICTIONARY.pad(), len(DICTIONARY)


POSITIONS: list[dict[str, Any]] = [
    {},
    {"memtx_clamp_len": 2},
    {"memtx_position_keys": "learned", "memtx_max_distance": 3},
]
COMPRESSIONS = ["conv", "conv", "mean-pool", "max-pool", "dilated-conv", "most-used"]


MIXTURES = ["softmax", "mean", "first", "last", "1", "routed", "routed"]


def of_memory(random: Random, architecture: str, layers: int) -> dict[str, Any]:
    """The settings that only this decoder has."""
    if architecture == "transformer":
        return {}
    if architecture == "memtx_feedback":
        return {
            "memtx_memory_kv": random.choice(["shared", "per-layer"]),
            "memtx_memory_mixture": random.choice(MIXTURES),
            "memtx_memory_channels": random.choice([1, random.randint(1, layers)]),
            "memtx_memory_span": random.choice([0, 0, 0, 2]),
            "memtx_relative_positions": random.choice([0, 0, 0, 3]),
        }
    segment = random.choice([1, 2, 4])
    found = {
        "memtx_segment_len": segment,
        "memtx_mem_len": segment * random.choice([1, 2, 3]),
        "memtx_same_length": random.random() < 0.2,
        "memtx_memory_layers": random.choice(["all", "all", "0"]),
        **random.choice(POSITIONS),
    }
    if architecture == "memtx_compressive":
        rates = [rate for rate in (1, 2, 4) if segment % rate == 0]
        found["memtx_compression_rate"] = random.choice(rates)
        found["memtx_cmem_len"] = random.choice([1, 2, 3])
        found["memtx_compression"] = random.choice(COMPRESSIONS)
    return found


ARCHITECTURES = ["transformer", "memtx_feedback", "memtx_transformer_xl", "memtx_compressive"]


def to_carry(random: Random, architecture: str) -> dict[str, Any]:
    """Further settings of a model whose memory outlives a sentence."""
    if architecture != "memtx_feedback":
        return {}
    span, size = random.choice([0, 2, 5, 20]), random.choice([1, 4, 9, 30])
    return {
        "memtx_memory_span": span,
        "memtx_carry_len": size if span == 0 else -1,
        "memtx_relative_positions": random.choice([1, 3, 40]),
        "no_token_positional_embeddings": True,
    }


def draw_model(random: Random, seed: int, carries: bool = False) -> Any:
    """A model whose hypotheses end early or late, and whose memory may outlive a sentence."""
    architecture = random.choice(ARCHITECTURES[1:] if carries else ARCHITECTURES)
    layers = random.choice([1, 2, 3])
    model = build_model(
        architecture,
        seed=seed,
        encoder_layers=random.choice([1, 2]),
        decoder_layers=layers,
        encoder_normalize_before=random.random() < 0.5,
        decoder_normalize_before=random.random() < 0.5,
        encoder_learned_pos=random.random() < 0.2,
        layernorm_embedding=random.random() < 0.2,
        share_decoder_input_output_embed=random.random() < 0.2,
        activation_fn=random.choice(["relu", "relu", "gelu", "tanh"]),
        max_target_positions=random.choice([64, 64, 9]),
        **{
            **of_memory(random, architecture, layers),
            **(to_carry(random, architecture) if carries else {}),
        },
    )
    with torch.no_grad():
        model.decoder.output_projection.weight[EOS] *= random.choice([1, 1, 3])
    return model


def draw_batch(random: Random) -> dict[str, Any]:
    """Sentences of 0 to 5 words, padded on either side."""
    number, side = random.choice([1, 2, 3, 6]), random.choice(["left", "right"])
    lengths = [random.choice([1, 1, 2, 3, 4, 6]) for _ in range(number)]
    tokens = torch.full((number, max(lengths)), PAD)
    for row, length in zip(tokens, lengths, strict=True):
        words = torch.tensor([*(random.randrange(4, SIZE) for _ in range(length - 1)), EOS])
        row[len(row) - length if side == "left" else 0 :][:length] = words
    net_input = {"src_tokens": tokens, "src_lengths": torch.tensor(lengths)}
    return {"id": torch.arange(number), "net_input": net_input}


def draw_prefix(random: Random, number: int) -> torch.Tensor:
    """Words to begin with, of two steps at most; some are whole sentences."""
    rows = [[random.randrange(4, SIZE), random.randrange(4, SIZE)] for _ in range(number)]
    ends = [random.choice([[], [PAD], [EOS], [PAD, PAD]]) for _ in range(number)]
    kept = [row[: 2 - len(end)] + end for row, end in zip(rows, ends, strict=True)]
    return torch.tensor(kept)


def draw_options(random: Random, number: int) -> dict[str, Any]:
    """What `check` is given beside models and batch of `number` sentences."""
    found: dict[str, Any] = {
        "beam_size": random.choice([1, 2, 3, 4, 5, 7, 9, 11]),
        "max_len_a": random.choice([0, 0.5, 1.2, 2]),
        "max_len_b": random.choice([4, 6, 10, 25]),
        "min_len": random.choice([0, 1, 1, 1, 3]),
        "len_penalty": random.choice([1, 1, 0, -1, 0.6, 2.5]),
        "normalize_scores": random.random() < 0.8,
        "unk_penalty": random.choice([0, 0, 0, -2, 1.5, float("inf")]),
        "temperature": random.choice([1, 1, 0.3, 2]),
        "no_repeat_ngram_size": random.choice([0, 0, 2, 3]),
        "align": random.choice(["", "", "", "hard", "soft"]),
    }
    if random.random() < 0.15:
        return {**found, "match_source_len": True, "min_len": 0}
    if random.random() < 0.1:
        found["eos"] = random.choice([0, 5])
    if not found["align"] and "eos" not in found and random.random() < 0.4:
        found["call"] = {"prefix_tokens": draw_prefix(random, number)}
    elif random.random() < 0.2:
        found["call"] = {"bos_token": random.choice([0, 4])}
    return found
