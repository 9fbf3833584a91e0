"""Gradients through several sentences: the decoders against plain loops over one long text.

The sentence before is read first and its memory taken as given; then come three columns of a batch,
of fewer rows each, in changing order.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fairseq_memtx.modules.lane_memory import LaneColumns, LaneMemories, LaneRow
from tests.fairseq_memtx.models.feedback_oracle import (
    _Sentence,
    affine,
    embed_target,
    layer_norm,
    naive,
    same_values_and_gradients,
)
from tests.fairseq_memtx.modules.segment_oracle import NaiveAttention
from tests.fairseq_memtx.segments import COMPRESSIVE, SHORT
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens, tiny_dictionary

#: Of each column the documents in it, and the words of their sentences; the first one is no part of
#: the batch.
DOCUMENTS = ((0, 1, 2), (2, 0, 1), (1, 2), (2,))
LENGTHS = ((3, 5, 2), (4, 2, 3), (6, 3), (5,))
BOUNDED = {"memtx_relative_positions": 5, "no_token_positional_embeddings": True}
FEEDBACK = {
    "span": {**BOUNDED, "memtx_memory_span": 6},
    "pre-norm": {**BOUNDED, "memtx_memory_span": 20, "decoder_normalize_before": True},
    "routed channels": {
        **BOUNDED,
        "memtx_memory_span": 9,
        "memtx_memory_mixture": "routed",
        "memtx_memory_channels": 2,
    },
    "reference": {**BOUNDED, "memtx_memory_span": 8, "memtx_engine": "reference"},
}
ALONE = {"no_cross_attention": True}
SEGMENTS = {
    "xl": ("memtx_transformer_xl", {**SHORT, "memtx_mem_len": 7}),
    "xl, pre-norm": ("memtx_transformer_xl", {**SHORT, "decoder_normalize_before": True}),
    "mean-pool, pre-norm": (
        "memtx_compressive",
        {**COMPRESSIVE, "memtx_compression": "mean-pool", "decoder_normalize_before": True},
    ),
    "conv": ("memtx_compressive", {**COMPRESSIVE, "memtx_compression_loss": "bptt"}),
    "most-used": ("memtx_compressive", {**COMPRESSIVE, "memtx_compression": "most-used"}),
}


class Column:
    """The sentences of some documents side by side."""

    def __init__(self, number: int):
        self.documents, self.lengths = DOCUMENTS[number], list(LENGTHS[number])
        self.tokens = random_tokens(self.lengths)
        self.source = random_source([length + 1 for length in self.lengths])
        self.rows = [
            LaneRow(lane, 10 * lane + number, 10 * lane + number - 1 if number else -1)
            for lane in self.documents
        ]

    def row_of(self, document: int) -> int | None:
        return self.documents.index(document) if document in self.documents else None


def make_columns() -> list[Column]:
    torch.manual_seed(5)
    return [Column(number) for number in range(len(DOCUMENTS))]


def last_states(decoder: Any, columns: Sequence[Column]) -> list[list[Tensor]]:
    """The last layer's states `(T, C)` of each sentence of the batch, by column and row."""
    memories, found = LaneMemories(), []
    before = LaneColumns(memories, [columns[0].rows])
    after = LaneColumns(memories, [column.rows for column in columns[1:]])
    for column, lanes in zip(columns, before.batches() + after.batches(), strict=True):
        _, extra = decoder.extract_features(
            column.tokens, column.source,
            memory=lanes.read("m", column.tokens), keep_memory=True, unrolled=True,
        )  # fmt: skip
        lanes.write("m", extra["memory"])
        states = extra["inner_states"][-1].unbind(1)
        found.append([x[:n] for x, n in zip(states, column.lengths, strict=True)])
    return found[1:]


def same_as(decoder: Any, columns: Sequence[Column], wanted: list[list[Tensor]]) -> None:
    """Values, and the gradients of a random sum of them in all parameters."""
    found = last_states(decoder, columns)
    same_values_and_gradients(found, wanted, dict(decoder.named_parameters()))


@pytest.mark.parametrize("name", FEEDBACK)
def test_feedback_equals_plain_loops_over_the_unrolled_sentences(name: str) -> None:
    decoder, columns = build_model(**FEEDBACK[name]).decoder, make_columns()
    oracle, wanted = naive(decoder), [[None] * len(c.documents) for c in columns]
    for document in range(3):
        text, position = None, 0
        for number, column in enumerate(columns):
            row = column.row_of(document)
            if row is None:
                continue
            source, padding = (column.source[k][0] for k in ("encoder_out", "encoder_padding_mask"))
            sentence = _Sentence(oracle, row, source, padding, None, None)
            if text is not None:
                sentence.keys, sentence.values = text.keys, text.values
            text = sentence
            inputs = embed_target(oracle.weights, column.tokens, tiny_dictionary().pad(),
                                  positions=None)  # fmt: skip
            states = []
            for x in inputs[: column.lengths[row], row]:
                # What the loops keep by position of the sentence counts on.
                missing = position - len(text.cross_probs)
                text.cross_probs += [[] for _ in range(missing)]
                text.memory_probs += [[] for _ in range(missing)]
                states.append(text.step(position, x)[-1])
                position += 1
            wanted[number][row] = torch.stack(states)
            if number == 0:
                text.keys, text.values = (
                    [[x.detach() for x in pair] for pair in kind]
                    for kind in (text.keys, text.values)
                )
    same_as(decoder, columns, wanted[1:])


class PlainStack:
    """The layers of a segment decoder without cross-attention, over one document."""

    def __init__(self, decoder: Any):
        self.weights = dict(decoder.named_parameters())
        self.before = decoder.cfg.decoder.normalize_before
        self.attention = [
            NaiveAttention(layer.self_attn, decoder.lengths(layer), self._norm(i))
            for i, layer in enumerate(decoder.layers)
        ]

    def _norm(self, i: int):
        name = f"layers.{i}.self_attn_layer_norm"
        return lambda x: layer_norm(self.weights, name, x) if self.before else x

    def run(self, x: Tensor) -> Tensor:
        """x `(T, C)` to the last layer's states `(T, C)`."""
        for i, attention in enumerate(self.attention):
            name = f"layers.{i}"
            rows = []
            for state, context in zip(x, attention.run(x), strict=True):
                y = self._after(f"{name}.self_attn_layer_norm", state + context)
                z = layer_norm(self.weights, f"{name}.final_layer_norm", y) if self.before else y
                z = affine(self.weights, f"{name}.fc1", z).relu()
                z = affine(self.weights, f"{name}.fc2", z)
                rows.append(self._after(f"{name}.final_layer_norm", y + z))
            x = torch.stack(rows)
        return x

    def _after(self, name: str, x: Tensor) -> Tensor:
        return x if self.before else layer_norm(self.weights, name, x)

    def forget_history(self) -> None:
        for attention in self.attention:
            attention.recent = [x.detach() for x in attention.recent]
            attention.compressed = [x.detach() for x in attention.compressed]


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_equal_plain_loops_over_the_unrolled_sentences(name: str) -> None:
    arch, options = SEGMENTS[name]
    decoder = build_model(arch, arch=arch, **options, **ALONE).decoder
    columns, wanted = make_columns(), []
    stacks = [PlainStack(decoder) for _ in range(3)]
    for number, column in enumerate(columns):
        inputs = embed_target(stacks[0].weights, column.tokens, tiny_dictionary().pad(),
                              positions=None)  # fmt: skip
        wanted.append([
            stacks[document].run(inputs[: column.lengths[row], row])
            for row, document in enumerate(column.documents)
        ])  # fmt: skip
        if number == 0:
            for stack in stacks:
                stack.forget_history()
    same_as(decoder, columns, wanted[1:])


def test_compressed_states_with_a_loss_of_their_own_stay_behind_the_stop_gradient() -> None:
    """The function is taught by its loss alone, whatever is unrolled."""
    decoder = build_model("memtx_compressive", arch="memtx_compressive", **COMPRESSIVE, **ALONE)
    states = last_states(decoder.decoder, make_columns())
    loss = torch.cat([x for rows in states for x in rows]).square().sum()
    parameters = [p for name, p in decoder.decoder.named_parameters() if "compression" in name]
    assert parameters
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert all(grad is None or not grad.any() for grad in found)
