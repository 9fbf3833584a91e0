"""Beside the public implementations: same weights, same output, where they compute the same thing.

The peers are `labml-nn`, `feedback-transformer-pytorch` and `compressive-transformer-pytorch`; the
tests of one that is not installed (`make peers` does it) are skipped. Where a peer differs from the
paper, or from us, the test says how and compares the rest. All in float64.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq_memtx.engine import ENGINES, Recurrence
from fairseq_memtx.modules.compression import Conv
from fairseq_memtx.modules.layer import FeedbackLayer, LayerSizes
from fairseq_memtx.modules.memory import FeedbackMemory
from fairseq_memtx.modules.relative_positions import LearnedRelativePositions, SinusoidalPositions
from fairseq_memtx.modules.segment_attention import SegmentAttention, SegmentPass
from fairseq_memtx.modules.segment_layer import SegmentLayer
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentLengths

DIM, FFN, HEADS, LAYERS = 8, 12, 2, 3
BATCH, LENGTH, SEGMENT = 2, 12, 4
EXACT = {"rtol": 1e-10, "atol": 1e-12}
CLOSE = {"rtol": 1e-8, "atol": 1e-10}


@pytest.fixture(autouse=True)
def float64_and_seed():
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def labml_logs_nothing(monkeypatch):
    """labml-nn's attention calls a function that newer versions of `labml` lack."""
    tracker = pytest.importorskip("labml.tracker", reason="labml-nn is not installed")
    monkeypatch.setattr(tracker, "debug", lambda *args: None, raising=False)


def scatter(module: nn.Module) -> None:
    """Random weights, biases and norms included, so that none can be forgotten."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def copy(target: nn.Linear | nn.LayerNorm, source: nn.Module) -> None:
    """Weight and bias; a peer without bias leaves none."""
    with torch.no_grad():
        target.weight.copy_(source.weight)
        target.bias.zero_()
        if source.bias is not None:
            target.bias.copy_(source.bias)


def sizes(ffn_dim: int = FFN, activation=F.relu) -> LayerSizes:
    return LayerSizes(DIM, ffn_dim, HEADS, None, normalize_before=True, activation=activation)


def random_loss(out: Tensor) -> Tensor:
    """Every output has its own gradient."""
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(7))
    return (out * weights).sum()


def check_gradients(pairs: list[tuple[Tensor, Tensor]]) -> None:
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.grad, theirs.grad, **CLOSE)


# labml-nn: layers with pre-norm


def copy_labml_layer(ours: nn.Module, theirs: nn.Module, attention: nn.Module) -> None:
    """Everything but the keys and values of a layer's attention."""
    copy(ours.self_attn.q_proj, attention.query.linear)
    copy(ours.self_attn.out_proj, attention.output)
    copy(ours.self_attn_layer_norm, theirs.norm_self_attn)
    copy(ours.final_layer_norm, theirs.norm_ff)
    copy(ours.fc1, theirs.feed_forward.layer1)
    copy(ours.fc2, theirs.feed_forward.layer2)


def pairs_of_labml_layer(ours, theirs, attention) -> list[tuple[Tensor, Tensor]]:
    """Weights with the same gradient; see the tests for the norm before attention."""
    return [
        (ours.self_attn.q_proj.weight, attention.query.linear.weight),
        (ours.self_attn.out_proj.weight, attention.output.weight),
        (ours.final_layer_norm.weight, theirs.norm_ff.weight),
        (ours.fc1.weight, theirs.feed_forward.layer1.weight),
        (ours.fc2.bias, theirs.feed_forward.layer2.bias),
    ]


def segment_layers(positions, compress: bool = False) -> nn.ModuleList:
    return nn.ModuleList(
        SegmentLayer(
            sizes(),
            SegmentAttention(DIM, HEADS, positions(), Conv(DIM, 2) if compress else None),
        )
        for _ in range(LAYERS)
    )


def sinusoidal() -> SinusoidalPositions:
    return SinusoidalPositions(DIM, HEADS)


@torch.no_grad()
def copy_labml_segment_layer(ours: SegmentLayer, theirs: nn.Module) -> None:
    """Ours gets their projections, theirs our positions: R_d = W_r s_d, S_d = v.R_d, and u.

    labml learns R and S freely, a superset of the paper's four terms.
    """
    attention, positions = theirs.self_attn, ours.self_attn.positions
    copy_labml_layer(ours, theirs, attention)
    copy(ours.self_attn.k_proj, attention.key.linear)
    copy(ours.self_attn.v_proj, attention.value.linear)
    keys = positions(LENGTH + SEGMENT)  # (H, K, D) of the distances K - 1, ..., 0
    # The distance d has the row P - d.
    rows = slice(attention.P - keys.size(1) + 1, attention.P + 1)
    attention.key_pos_embeddings[rows] = keys.transpose(0, 1)
    attention.key_pos_bias[rows] = torch.einsum("hkd,hd->kh", keys, positions.position_bias)
    attention.query_pos_bias.copy_(positions.content_bias)


def run_segments(layers: nn.ModuleList, x: Tensor, lengths: SegmentLengths) -> Tensor:
    """Our layers over x `(T, B, C)`."""
    x = x.transpose(0, 1)
    for layer in layers:
        x = layer(x, SegmentPass(lengths)).x
    return x.transpose(0, 1)


def causal(queries: int, keys: int) -> Tensor:
    """labml's mask `(Q, K, 1)`, True where a query sees a key."""
    return torch.ones(queries, keys).tril(keys - queries).bool().unsqueeze(-1)


@pytest.mark.usefixtures("labml_logs_nothing")
@pytest.mark.parametrize("mem_len", [4, 6, 50])
def test_transformer_xl_of_labml(mem_len):
    """Values and gradients; of those, the norm before attention is left out: labml's learns from
    the memory too, while ours, like the paper's stop-gradient, keeps the whole memory out.
    """
    xl = pytest.importorskip("labml_nn.transformers.xl", reason="labml-nn is not installed")
    feed_forward = pytest.importorskip("labml_nn.transformers.feed_forward").FeedForward
    layer = xl.TransformerXLLayer(
        d_model=DIM,
        self_attn=xl.RelativeMultiHeadAttention(HEADS, DIM, 0.0),
        feed_forward=feed_forward(DIM, FFN, 0.0),
        dropout_prob=0.0,
    )
    theirs, ours = xl.TransformerXL(layer, LAYERS), segment_layers(sinusoidal)
    scatter(theirs), scatter(ours)
    for our_layer, their_layer in zip(ours, theirs.layers, strict=True):
        copy_labml_segment_layer(our_layer, their_layer)
    x, memory, found = torch.randn(LENGTH, BATCH, DIM), [], []
    for segment in x.split(SEGMENT):
        keys = SEGMENT + (memory[0].size(0) if memory else 0)
        out, new = theirs(segment, memory, causal(SEGMENT, keys))
        found.append(out)
        memory = [
            torch.cat([old, layer], dim=0)[-mem_len:]
            for old, layer in zip(memory or [x[:0]] * LAYERS, new, strict=True)
        ]
    expected = torch.cat(found)
    norm = nn.LayerNorm(DIM)
    copy(norm, theirs.norm)
    out = norm(run_segments(ours, x, SegmentLengths(SEGMENT, mem_len)))
    torch.testing.assert_close(out, expected, **EXACT)
    random_loss(out).backward(), random_loss(expected).backward()
    for our_layer, their_layer in zip(ours, theirs.layers, strict=True):
        attention = their_layer.self_attn
        check_gradients(
            [
                *pairs_of_labml_layer(our_layer, their_layer, attention),
                (our_layer.self_attn.k_proj.weight, attention.key.linear.weight),
                (our_layer.self_attn.v_proj.weight, attention.value.linear.weight),
            ]
        )


def labml_compressive() -> tuple[nn.Module, nn.ModuleList]:
    """Their model and our layers, with the same weights."""
    compressive = pytest.importorskip(
        "labml_nn.transformers.compressive", reason="labml-nn is not installed"
    )
    xl = pytest.importorskip("labml_nn.transformers.xl")
    feed_forward = pytest.importorskip("labml_nn.transformers.feed_forward").FeedForward
    layer = compressive.CompressiveTransformerLayer(
        d_model=DIM,
        self_attn=xl.RelativeMultiHeadAttention(HEADS, DIM, 0.0),
        feed_forward=feed_forward(DIM, FFN, 0.0),
        dropout_prob=0.0,
        compress=compressive.Conv1dCompression(2, DIM),
    )
    theirs = compressive.CompressiveTransformer(layer, LAYERS)
    ours = segment_layers(sinusoidal, compress=True)
    scatter(theirs), scatter(ours)
    for our_layer, their_layer in zip(ours, theirs.layers, strict=True):
        copy_labml_segment_layer(our_layer, their_layer)
        copy(our_layer.self_attn.compression.conv, their_layer.compress.conv)
    return theirs, ours


@pytest.mark.usefixtures("labml_logs_nothing")
@torch.no_grad()
def test_compressive_transformer_of_labml():
    """The layers and the convolution are labml's; which states are compressed when stands in their
    experiment, not in a class, so that the test does it, by Algorithm 1.
    """
    theirs, ours = labml_compressive()
    x, recent, older, found = torch.randn(5 * SEGMENT, BATCH, DIM), [], [], []
    for segment in x.split(SEGMENT):
        recent = recent or [x[:0]] * LAYERS
        older = older or [x[:0]] * LAYERS
        keys = SEGMENT + recent[0].size(0) + older[0].size(0)
        out, new = theirs(segment, recent, older, causal(SEGMENT, keys))
        found.append(out)
        recent = [torch.cat(both) for both in zip(recent, new, strict=True)]
        gone = [states[: max(len(states) - SEGMENT, 0)] for states in recent]
        if len(gone[0]) > 0:
            made = [
                layer.compress(states) for layer, states in zip(theirs.layers, gone, strict=True)
            ]
            older = [torch.cat(both)[-3:] for both in zip(older, made, strict=True)]
        recent = [states[-SEGMENT:] for states in recent]
    lengths = SegmentLengths(SEGMENT, SEGMENT, compressed=3, rate=2)
    out = theirs.norm(run_segments(ours, x, lengths))
    torch.testing.assert_close(out, torch.cat(found), **EXACT)


def test_attention_reconstruction_of_labml():
    """labml takes the mean square, the paper the norm; for one sentence and one block the two are
    tied: mean square = norm^2 / (Q * C). So are their gradients.
    """
    theirs, ours = labml_compressive()
    compressive = pytest.importorskip("labml_nn.transformers.compressive")
    layer, attention = theirs.layers[0], ours[0].self_attn
    x = torch.randn(2 * SEGMENT, 1, DIM)
    lengths = SegmentLengths(SEGMENT, SEGMENT, compressed=2, rate=2)
    how = SegmentPass(lengths, keep=True)
    out = attention(x.transpose(0, 1), ours[0].norm_before_attention, how)
    loss = compressive.AttentionReconstructionLoss(theirs.layers)
    square = loss.calc_loss(layer, x[SEGMENT:], x[:SEGMENT])
    count = SEGMENT * DIM
    torch.testing.assert_close(out.loss.square() / count, square, **EXACT)
    out.loss.backward(), square.backward()
    scale = 2 * out.loss.detach() / count
    ours_conv, their_conv = attention.compression.conv, layer.compress.conv
    for name in ("weight", "bias"):
        mine, other = getattr(ours_conv, name).grad, getattr(their_conv, name).grad
        torch.testing.assert_close(scale * mine, other, **CLOSE)
    assert layer.norm_self_attn.weight.grad is None  # theirs teaches f_c alone ...
    assert ours[0].self_attn_layer_norm.weight.grad is None  # ... and so does ours


def run_feedback(layers, memory: FeedbackMemory, x: Tensor, engine: str) -> Tensor:
    """The last layer's output for x `(T, B, C)`."""
    return ENGINES[engine](Recurrence(layers, memory, x)).states[-1]


def feedback_stack(
    shared_kv: bool, distances: int, **kwargs
) -> tuple[nn.ModuleList, FeedbackMemory]:
    """Without a norm of the memory: the authors' code has it, the peers do not."""
    layers = nn.ModuleList(FeedbackLayer(sizes(**kwargs)) for _ in range(LAYERS))
    memory = FeedbackMemory(LAYERS, DIM, HEADS, shared_kv=shared_kv, num_distances=distances)
    scatter(layers), scatter(memory)
    return layers, memory


@pytest.mark.parametrize("engine", ["reference", "manual"])
@pytest.mark.parametrize("shared_kv", [False, True])
def test_feedback_transformer_of_labml(shared_kv, engine):
    """Three differences: labml does not normalise the memory (nor do we here), has positions of
    each head and layer beside a bias u and S (here alike and zero), and leaves out the attention of
    the first position with its output bias, where ours adds the bias (here zero).
    """
    feedback = pytest.importorskip(
        "labml_nn.transformers.feedback", reason="labml-nn is not installed"
    )
    feed_forward = pytest.importorskip("labml_nn.transformers.feed_forward").FeedForward
    attention = feedback.FeedbackAttention(HEADS, DIM, 0.0, is_kv_precomputed=shared_kv)
    layer = feedback.FeedbackTransformerLayer(
        d_model=DIM, attn=attention, feed_forward=feed_forward(DIM, FFN, 0.0), dropout_prob=0.0
    )
    if shared_kv:
        theirs = feedback.FeedbackTransformerKV(layer, LAYERS, DIM, HEADS)
    else:
        theirs = feedback.FeedbackTransformer(layer, LAYERS)
    scatter(theirs)
    layers, memory = feedback_stack(shared_kv, LENGTH)
    with torch.no_grad():
        memory.mixture.weight.copy_(theirs.weights)
        for number, (ours, other) in enumerate(zip(layers, theirs.layers, strict=True)):
            other.attn.output.bias.zero_()
            copy_labml_layer(ours, other, other.attn)
            # the distance d has the row P - d
            rows = memory.distance_keys.flip(0)[:, None]
            other.attn.key_pos_embeddings[-LENGTH:] = rows
            other.attn.key_pos_bias.zero_()
            other.attn.query_pos_bias.zero_()
            source = theirs if shared_kv else other.attn
            if number == 0 or not shared_kv:
                copy(memory.k_proj[number], source.key.linear)
                copy(memory.v_proj[number], source.value.linear)
    x = torch.randn(LENGTH, BATCH, DIM)
    out, expected = theirs.norm(run_feedback(layers, memory, x, engine)), theirs(x)
    torch.testing.assert_close(out, expected, **EXACT)
    # their norm serves both: its gradient is not compared
    random_loss(expected).backward(), random_loss(out).backward()
    pairs = [(memory.mixture.weight, theirs.weights)]
    for number, (ours, other) in enumerate(zip(layers, theirs.layers, strict=True)):
        pairs += pairs_of_labml_layer(ours, other, other.attn)
        pairs += [(ours.self_attn_layer_norm.weight, other.norm_self_attn.weight)]
        if number == 0 or not shared_kv:
            source = theirs if shared_kv else other.attn
            pairs += [(memory.k_proj[number].weight, source.key.linear.weight)]
            pairs += [(memory.v_proj[number].weight, source.value.linear.weight)]
    check_gradients(pairs)


# feedback-transformer-pytorch


def geglu(x: Tensor) -> Tensor:
    """Their gated activation `(..., 2 F)` -> `(..., 2 F)`, the second half zeros: fc2 keeps its
    width.
    """
    value, gate = x.chunk(2, dim=-1)
    return torch.cat([F.gelu(gate) * value, torch.zeros_like(value)], dim=-1)


def test_feedback_transformer_of_feedback_transformer_pytorch():
    """One word at a time (`seq_len=1`), as in the paper. The memory is not normalised (nor do we
    here). Their bias by relative position is not offset by the memory's length: from a single word
    every memory has the same distance, and a bias alike for all keys changes nothing, so that the
    model has no positions at all.
    """
    peer = pytest.importorskip(
        "feedback_transformer_pytorch", reason="feedback-transformer-pytorch is not installed"
    )
    theirs = peer.FeedbackTransformer(
        num_tokens=11, dim=DIM, depth=LAYERS, seq_len=1, mem_len=50, heads=HEADS,
        dim_head=DIM // HEADS,
    )  # fmt: skip
    scatter(theirs)
    inner = 8 * DIM
    layers, memory = feedback_stack(True, 0, ffn_dim=inner, activation=geglu)
    with torch.no_grad():
        memory.mixture.weight.copy_(theirs.layer_weight)
        for part, rows in zip((memory.k_proj[0], memory.v_proj[0]), (0, DIM), strict=True):
            part.weight.copy_(theirs.shared_kv_proj.weight[rows : rows + DIM])
            part.bias.zero_()
        for ours, (attention, feed_forward) in zip(layers, theirs.layers, strict=True):
            attention = attention.fn  # behind SkipIf: no attention, nor its bias, without memory
            attention.fn.fn.to_out.bias.zero_()
            copy(ours.self_attn.q_proj, attention.fn.fn.to_q)
            copy(ours.self_attn.out_proj, attention.fn.fn.to_out)
            copy(ours.self_attn_layer_norm, attention.fn.norm)
            copy(ours.final_layer_norm, feed_forward.fn.norm)
            expand, _, _, reduce = feed_forward.fn.fn.net
            copy(ours.fc1, expand)
            ours.fc2.weight.zero_()[:, : inner // 2] = reduce.weight
            ours.fc2.bias.copy_(reduce.bias)
        words = torch.randint(11, (BATCH, LENGTH))
        x = theirs.token_emb(words).transpose(0, 1)
        out = run_feedback(layers, memory, x, "reference").transpose(0, 1)
        torch.testing.assert_close(theirs.to_logits(out), theirs(words), **EXACT)


# compressive-transformer-pytorch


def compressive_attentions() -> tuple[nn.Module, SegmentAttention, Tensor]:
    """Their attention and ours, with the same weights, and their keys of positions."""
    peer = pytest.importorskip(
        "compressive_transformer_pytorch.compressive_transformer_pytorch",
        reason="compressive-transformer-pytorch is not installed",
    )
    theirs = peer.SelfAttention(
        DIM, SEGMENT, mem_len=SEGMENT, cmem_len=4, cmem_ratio=2, heads=HEADS
    )
    positions = LearnedRelativePositions(DIM // HEADS, LENGTH)
    ours = SegmentAttention(DIM, HEADS, positions, Conv(DIM, 2))
    scatter(theirs), scatter(ours)
    with torch.no_grad():
        copy(ours.q_proj, theirs.to_q)
        copy(ours.out_proj, theirs.to_out)
        for part, rows in zip((ours.k_proj, ours.v_proj), (0, DIM), strict=True):
            part.weight.copy_(theirs.to_kv.weight[rows : rows + DIM])
            part.bias.zero_()
        copy(ours.compression.conv, theirs.compress_mem_fn.conv)
        # (H, K, D): the distance d is the row -1 - d
        keys = positions.distance_keys.flip(0)[None].expand(HEADS, -1, -1)
    return theirs, ours, keys


def test_attention_of_compressive_transformer_pytorch():
    """Their attention over [compressed ; memory ; segment] and their memory update, as they are;
    without norms, since theirs keeps and compresses normalised states where ours, by the paper,
    normalises what was kept.
    """
    theirs, ours, keys = compressive_attentions()
    theirs.eval()
    x, memories, found = torch.randn(BATCH, 6 * SEGMENT, DIM), None, []
    for segment in x.split(SEGMENT, dim=1):
        out, memories, _ = theirs(segment, memories, pos_emb=keys)
        found.append(out)
    lengths = SegmentLengths(SEGMENT, SEGMENT, compressed=4, rate=2)
    out = ours(x, lambda y: y, SegmentPass(lengths, keep=True))
    torch.testing.assert_close(out.out, torch.cat(found, dim=1), **EXACT)
    torch.testing.assert_close(out.memory.recent, memories.mem, **EXACT)
    torch.testing.assert_close(out.memory.compressed, memories.compressed_mem, **EXACT)


def test_reconstruction_loss_of_compressive_transformer_pytorch():
    """The mean square again, here with a memory as long as a segment: with a longer one theirs
    compares attention over the whole memory with attention over the part that was compressed.
    Theirs also freezes the projection of keys and values for good.
    """
    theirs, ours, keys = compressive_attentions()
    x = torch.randn(1, 2 * SEGMENT, DIM)
    first, second = x.split(SEGMENT, dim=1)
    _, memories, _ = theirs(first, None, pos_emb=keys)
    _, _, square = theirs(second, memories, pos_emb=keys)
    lengths = SegmentLengths(SEGMENT, SEGMENT, compressed=4, rate=2)
    empty = LayerMemory.empty(x)
    norm = ours(x, lambda y: y, SegmentPass(lengths, keep=True), empty).loss
    torch.testing.assert_close(norm / math.sqrt(SEGMENT * DIM), square.sqrt(), **EXACT)
    assert not theirs.to_kv.weight.requires_grad  # the defect: found by its absence once it is gone
    assert ours.k_proj.weight.requires_grad
