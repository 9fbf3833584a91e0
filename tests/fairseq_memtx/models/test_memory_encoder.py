"""The encoder with a memory: against plain loops, and the limits in which it is another's."""

from typing import Any

import pytest
import torch
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.lane_memory import LaneBatch, LaneColumns, LaneMemories, LaneRow
from fairseq_memtx.modules.relative_positions import LearnedRelativePositions, SinusoidalPositions
from tests.choosing import some
from tests.fairseq_memtx.models.encoder_oracle import PlainEncoder
from tests.fairseq_memtx.models.feedback_oracle import EXACT, same_values_and_gradients
from tests.fairseq_memtx.tiny import build_model, random_tokens, tiny_dictionary

#: Of each batch the documents in its rows, and the words of their sentences.
DOCUMENTS = ((0, 1, 2), (2, 0, 1), (1, 2), (2,))
LENGTHS = ((3, 5, 1), (4, 2, 3), (6, 3), (5,))
POST_NORM: dict[str, Any] = {"encoder_layers": 2}
PRE_NORM = {"encoder_layers": 2, "encoder_normalize_before": True}
#: The settings, how many states are remembered, and whether gradients go back through them.
CASES = {
    "all": (PRE_NORM, 50, False),
    "few": (POST_NORM, 4, False),
    "one": (PRE_NORM, 1, False),
    "unrolled": (PRE_NORM, 7, True),
    "unrolled, post-norm": (POST_NORM, 50, True),
}


def model_of(size: int, **settings: Any) -> Any:
    own = {"memtx_segment_len": 4, "memtx_mem_len": 4, "memtx_encoder_memory": size}
    return build_model("memtx_transformer_xl", arch="memtx_transformer_xl", **own, **settings)


def encoder_of(size: int, **settings: Any) -> Any:
    return model_of(size, **settings).encoder


def rows_of(number: int) -> list[LaneRow]:
    return [
        LaneRow(lane, 10 * lane + number, 10 * lane + number - 1 if number else -1)
        for lane in DOCUMENTS[number]
    ]


def lanes_of(unrolled: bool) -> list[LaneBatch]:
    """The first batch is by itself, and the gradient ends after it."""
    memories, rows = LaneMemories(), [rows_of(number) for number in range(len(DOCUMENTS))]
    if not unrolled:
        return [LaneBatch(memories, some) for some in rows]
    return LaneColumns(memories, rows[:1]).batches() + LaneColumns(memories, rows[1:]).batches()


def read(encoder: Any, batches: list[Tensor], unrolled: bool = False) -> list[list[Tensor]]:
    """The outputs `(S, C)` of each batch's rows."""
    found = []
    for tokens, lanes in zip(batches, lanes_of(unrolled), strict=True):
        memory = lanes.read("m", tokens)
        out = encoder(tokens, memory=memory, keep_memory=True, unrolled=unrolled)
        lanes.write("m", out["memory"])
        words = tokens.ne(tiny_dictionary().pad())
        assert torch.equal(out["encoder_padding_mask"][0], ~words)
        found.append(
            [x[row] for x, row in zip(out["encoder_out"][0].unbind(1), words, strict=True)]
        )
    return found


def read_plainly(encoder: Any, batches: list[Tensor], size: int, unrolled: bool) -> list[Any]:
    """The same by loops, document by document."""
    documents = [PlainEncoder(encoder, size, unrolled) for _ in range(3)]
    found = []
    for number, tokens in enumerate(batches):
        found.append([])
        for document, row in zip(DOCUMENTS[number], tokens, strict=True):
            found[-1].append(documents[document].read(row[row.ne(tiny_dictionary().pad())]))
            if number == 0 or not unrolled:
                documents[document].forget_history()
    return found


def batches_of(sides: str = "left") -> list[Tensor]:
    torch.manual_seed(5)
    return [random_tokens(list(lengths), sides) for lengths in LENGTHS]


@pytest.mark.parametrize("sides", ["left", pytest.param("both", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", some(CASES, 3))
def test_values_and_gradients_are_those_of_plain_loops(case: str, sides: str) -> None:
    """With an empty memory too: that of the first batch."""
    settings, size, unrolled = CASES[case]
    encoder, batches = encoder_of(size, **settings), batches_of(sides)
    found = read(encoder, batches, unrolled)
    wanted = read_plainly(encoder, batches, size, unrolled)
    same_values_and_gradients(found, wanted, dict(encoder.named_parameters()))


def test_the_memory_reaches_as_far_back_as_it_is_long() -> None:
    """A layer sees what it is given: one layer, and no further."""
    encoder, batches = encoder_of(3), batches_of()
    changed = [tokens.clone() for tokens in batches]
    pad = tiny_dictionary().pad()
    before, after = batches[0][1], batches[1][2]  # of document 1, five words and three
    for back in range(1, 6):
        tokens = batches[0].clone()
        tokens[1, -back] = 4 + (int(before[-back]) - 3) % 9
        assert tokens[1, -back] not in (pad, before[-back])
        changed[0] = tokens
        same = torch.equal(read(encoder, changed)[1][2], read(encoder, batches)[1][2])
        assert same == (back > 3)
    assert after[0] == pad  # on the left of the sentence, which counts for nothing


def test_the_order_of_words_counts_on_either_side() -> None:
    encoder = encoder_of(5)
    words = torch.tensor([[4, 5, 6, 7, 2]])
    there, back = (encoder(x)["encoder_out"][0][:, 0] for x in (words, words.flip(1)))
    assert not torch.allclose(there, back.flip(0), rtol=1e-3)


def test_a_dropped_layer_leaves_its_memory_as_it_was() -> None:
    encoder, tokens = encoder_of(4, encoder_layers=2), batches_of()[0]
    before = encoder(tokens, keep_memory=True)["memory"]
    first = encoder.all_layers()[0]
    encoder.kept_layers = lambda: [first, None]
    after = encoder(tokens, memory=before, keep_memory=True)["memory"]
    assert after.layers[1] is before.layers[1]
    assert not torch.equal(after.layers[0].recent, before.layers[0].recent)
    empty = encoder(tokens, keep_memory=True)["memory"]
    assert [layer.recent.size(1) for layer in empty.layers] == [4, 0]


@pytest.mark.parametrize("dropout", some(("dropout", "attention_dropout", "activation_dropout"), 3))
def test_dropout_is_of_training_alone_and_the_same_with_checkpointed_activations(dropout) -> None:
    tokens, found = batches_of()[0], []
    for again in (False, True):
        settings = {**PRE_NORM, dropout: 0.4, "checkpoint_activations": again}
        encoder = encoder_of(4, **settings)
        memory = encoder(tokens, keep_memory=True)["memory"].detach()
        quiet = encoder(tokens, memory=memory)["encoder_out"][0]
        assert torch.equal(quiet, encoder(tokens, memory=memory)["encoder_out"][0])
        encoder.train()
        torch.manual_seed(2)
        out = encoder(tokens, memory=memory)["encoder_out"][0]
        assert not torch.allclose(out, quiet)
        found.append((out, torch.autograd.grad(out.square().sum(), list(encoder.parameters()))))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_without_it_the_encoder_is_fairseqs_bit_for_bit() -> None:
    settings = {"memtx_segment_len": 4, "memtx_mem_len": 4}
    kind = "memtx_transformer_xl"
    without, zero = (
        build_model(kind, arch=kind, **settings, **more)
        for more in ({}, {"memtx_encoder_memory": 0})
    )
    for encoder in (without.encoder, zero.encoder):
        assert type(encoder) is TransformerEncoderBase
    for (name, one), (other_name, other) in zip(
        without.named_parameters(), zero.named_parameters(), strict=True
    ):
        assert name == other_name and torch.equal(one, other)


def test_it_keeps_fairseqs_contract() -> None:
    encoder, tokens = encoder_of(4, **PRE_NORM), batches_of()[0]
    stock = build_model("memtx_transformer_xl", arch="memtx_transformer_xl", **PRE_NORM).encoder
    out, theirs = (one(tokens, return_all_hiddens=True) for one in (encoder, stock))
    assert out.keys() == theirs.keys()
    for name, values in theirs.items():
        shapes = [None if x is None else (x.shape, x.dtype) for x in values]
        if name != "fc_results":
            assert [(x.shape, x.dtype) for x in out[name]] == shapes, name
    order = torch.tensor([2, 0])
    turned = encoder.reorder_encoder_out(out, order)
    assert torch.equal(turned["encoder_out"][0], out["encoder_out"][0][:, order])
    assert encoder.max_positions() == 64


def test_keys_of_distances_are_the_same_whatever_else_is_asked_for() -> None:
    positions = SinusoidalPositions(8, 2).double()
    both = positions(5, ahead=3)
    assert both.shape == (2, 8, 4)
    torch.testing.assert_close(both[:, :5], positions(5), **EXACT)
    clamped = SinusoidalPositions(8, 2, clamp_len=2).double()
    clamped.load_state_dict(positions.state_dict())
    far = clamped(5, ahead=3)
    torch.testing.assert_close(far[:, 2:7], both[:, 2:7], **EXACT)
    for place, nearest in ((0, 2), (1, 2), (7, 6)):
        torch.testing.assert_close(far[:, place], both[:, nearest], **EXACT)
    with pytest.raises(ValueError, match="behind the query alone"):
        LearnedRelativePositions(4, 3)(5, ahead=1)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"memtx_encoder_memory": -1}, "--memtx-encoder-memory is -1: it has to be at least 0"),
        ({"encoder_learned_pos": True}, "--encoder-learned-pos cannot be used with --memtx-enc"),
        (
            {"encoder_attention_heads": 5},
            "--encoder-attention-heads: the dimension is 12: it has to be a multiple of its 5",
        ),
        (
            {"encoder_attention_heads": 1, "encoder_embed_dim": 9},
            "--encoder-embed-dim: the dimension is 9: it has to be even",
        ),
        ({"dropout": 1.5}, "--dropout is 1.5"),
    ],
)
def test_impossible_options_are_refused(settings: dict[str, Any], says: str) -> None:
    size = settings.pop("memtx_encoder_memory", 4)
    with pytest.raises(UserError, match=says) as refusal:
        model_of(size, **settings)
    assert "\n" not in str(refusal.value)
