"""What must hold of the Feedback decoder whatever its weights: causality, padding, limit cases."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq_memtx.engine import ENGINES, Recurrence, reference
from fairseq_memtx.modules.attention import attend, attention_probs
from fairseq_memtx.modules.memory import FeedbackMemory, MemoryTrace
from fairseq_memtx.modules.mixture import LayerMixture, RoutedMixture, fold_left_out
from fairseq_memtx.plain import memory_steps
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens, select_source

EXACT = {"rtol": 1e-9, "atol": 1e-11}
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}  # fairseq's attention normalises in float32 at any precision
MODELS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm": {"decoder_normalize_before": True, "memtx_memory_kv": "per-layer"},
    "relative positions": {"memtx_relative_positions": 3, "memtx_memory_span": 2},
    "routed channels": {
        "decoder_layers": 3,
        "memtx_memory_mixture": "routed",
        "memtx_memory_channels": 2,
    },
}


def logits_of(decoder: Any, tokens: Tensor, source: Any) -> Tensor:
    with torch.no_grad():
        return decoder(tokens, source)[0]


# --- Causality ----------------------------------------------------------------------------------


def check_causality(decoder: Any) -> None:
    """Another token at t changes nothing before t, and something at t and everywhere after."""
    tokens, source = random_tokens([6, 6]), random_source([4, 3])
    before = logits_of(decoder, tokens, source)
    for t in range(1, 6):
        changed = tokens.clone()
        changed[:, t] = torch.where(tokens[:, t] == 5, 6, 5)
        after = logits_of(decoder, changed, source)
        moved = (after - before).abs().amax(dim=(0, 2))
        assert moved[:t].max() == 0.0, f"the token at {t} changed an earlier output"
        assert moved[t:].min() > 1e-6, f"the token at {t} did not reach a later output"


@pytest.mark.parametrize("name", MODELS)
def test_a_token_changes_nothing_before_it_and_all_that_follows(tiny_decoder, name):
    """A span of 2 reaches all later positions too: through the memories in between."""
    check_causality(tiny_decoder(**MODELS[name]))


def test_the_check_notices_an_embedding_that_leaks_into_the_past(tiny_decoder):
    decoder = tiny_decoder()
    embed = decoder.embed

    def with_next(*args):
        x = embed(*args)
        return x + 1e-6 * x.roll(-1, dims=0)

    decoder.embed = with_next
    with pytest.raises(AssertionError, match="earlier"):
        check_causality(decoder)


def test_the_check_notices_a_memory_that_is_never_read(tiny_decoder):
    decoder = tiny_decoder(memtx_engine="reference")
    decoder.memory.views = lambda k, v, mask: FeedbackMemory.views(
        decoder.memory, k[..., :0, :], v[..., :0, :], None
    )
    with pytest.raises(AssertionError, match="later"):
        check_causality(decoder)


# --- The memory is strictly earlier and empty at first -------------------------------------------


def check_first_position_reads_no_memory(decoder: Any) -> None:
    """The first position's context is zero: no parameter of the memory can change its output."""
    tokens, source = random_tokens([3, 3]), random_source([4, 3])
    before = logits_of(decoder, tokens, source)
    with torch.no_grad():
        for parameter in decoder.memory.parameters():
            parameter.add_(torch.randn_like(parameter))
        for layer in decoder.layers:
            layer.self_attn.q_proj.weight.add_(torch.randn_like(layer.self_attn.q_proj.weight))
    after = logits_of(decoder, tokens, source)
    assert torch.equal(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 1], before[:, 1])


def check_second_position_reads_one_memory(decoder: Any) -> None:
    """A softmax over one memory is 1: no query can change the second position's output."""
    tokens, source = random_tokens([3, 3]), random_source([4, 3])
    before = logits_of(decoder, tokens, source)
    with torch.no_grad():
        for layer in decoder.layers:
            layer.self_attn.q_proj.weight.add_(torch.randn_like(layer.self_attn.q_proj.weight))
    after = logits_of(decoder, tokens, source)
    torch.testing.assert_close(after[:, :2], before[:, :2], **EXACT)
    assert not torch.allclose(after[:, 2], before[:, 2])


@pytest.mark.parametrize("name", MODELS)
def test_the_first_position_reads_no_memory(tiny_decoder, name):
    check_first_position_reads_no_memory(tiny_decoder(**MODELS[name]))


@pytest.mark.parametrize("name", MODELS)
def test_the_second_position_reads_exactly_one_memory(tiny_decoder, name):
    check_second_position_reads_one_memory(tiny_decoder(**MODELS[name]))


def test_the_check_notices_a_memory_of_the_current_position(tiny_decoder, monkeypatch):
    step = reference.feedback_step

    def with_current(layers, memory, x, past, *args):
        class Now:
            __len__ = past.__len__
            add_memory = past.add_memory

            def views(self):
                keys, values = memory([x] * (len(layers) + 1))
                return [
                    v._replace(
                        keys=torch.cat([v.keys, k.unsqueeze(-2)], dim=-2),
                        values=torch.cat([v.values, w.unsqueeze(-2)], dim=-2),
                    )
                    for v, k, w in zip(past.views(), keys, values, strict=True)
                ]

        return step(layers, memory, x, Now(), *args)

    monkeypatch.setattr(reference, "feedback_step", with_current)
    decoder = tiny_decoder(memtx_engine="reference")
    with pytest.raises(AssertionError):
        check_first_position_reads_no_memory(decoder)
    with pytest.raises(AssertionError):
        check_second_position_reads_one_memory(decoder)


def test_the_check_notices_an_empty_memory_of_zeros(tiny_decoder, monkeypatch):
    """Zeros for the memories that do not exist take a part of the softmax."""
    views = MemoryTrace.views

    def zeros_first(self):
        return [
            v._replace(
                keys=nn.functional.pad(v.keys, (0, 0, 1, 0)),
                values=nn.functional.pad(v.values, (0, 0, 1, 0)),
            )
            for v in views(self)
        ]

    monkeypatch.setattr(MemoryTrace, "views", zeros_first)
    with pytest.raises(AssertionError):
        check_second_position_reads_one_memory(tiny_decoder(memtx_engine="reference"))


def test_attention_over_nothing_is_zero_with_zero_gradients_and_no_nan():
    """Over no keys at all, and over keys that are all masked."""
    mask = torch.tensor([[True, True, True], [False, True, False]])
    query = torch.randn(2, 2, 1, 4, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    with torch.autograd.set_detect_anomaly(True):
        context, probs = attend(query, keys, values, mask)
        context.square().sum().backward()
    assert not probs[0].any() and not context[0].any()
    torch.testing.assert_close(probs[1].sum(dim=-1), torch.ones(2, 1, dtype=torch.float64))
    assert not probs[1, ..., 1].any()
    for leaf in (query, keys, values):
        assert not leaf.grad[0].any() and leaf.grad.isfinite().all() and leaf.grad[1].any()
    empty, _ = attend(query, keys[:, :, :0], values[:, :, :0])
    assert not empty.any() and empty.shape == query.shape


def test_attention_in_half_precision_sums_to_one_for_large_scores():
    scores = torch.full((1, 1, 1, 300), 60000.0, dtype=torch.float16)
    torch.testing.assert_close(
        attention_probs(scores).float().sum(), torch.tensor(1.0), rtol=2e-3, atol=0
    )


def test_attention_passes_gradcheck_with_a_mask_and_position_keys():
    mask = torch.tensor([[False, True, False], [True, True, True]])
    shapes = [(2, 2, 1, 3), (2, 2, 3, 3), (2, 2, 3, 3), (3, 3)]
    leaves = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(
        lambda q, k, v, r: attend(q, k, v, mask, position_keys=r)[0], leaves
    )


# --- Padding and batches ------------------------------------------------------------------------


def check_a_sentence_is_the_same_alone(decoder: Any, sides: str) -> None:
    """Logits and alignment of each sentence of a padded batch equal those of the sentence alone."""
    lengths = [2, 5, 3]
    tokens, source = random_tokens(lengths, sides), random_source([4, 2, 6])
    with torch.no_grad():
        logits, extra = decoder(tokens, source)
    for number, size in enumerate([4, 2, 6]):
        alone = select_source(source, torch.tensor([number]))
        alone = {
            "encoder_out": [alone["encoder_out"][0][:size]],
            "encoder_padding_mask": [alone["encoder_padding_mask"][0][:, :size]],
        }
        real = tokens[number].ne(decoder.padding_idx)
        with torch.no_grad():
            want, wanted = decoder(tokens[number : number + 1, real], alone)
        torch.testing.assert_close(logits[number, real], want[0], **EXACT)
        attn = extra["attn"][0][number, real]
        torch.testing.assert_close(attn[:, :size], wanted["attn"][0][0], **EXACT)
        assert not attn[:, size:].any()


@pytest.mark.parametrize("sides", ["right", "left", "both"])
@pytest.mark.parametrize("name", ["post-norm", "pre-norm"])
def test_a_sentence_in_a_padded_batch_is_the_sentence_alone(tiny_decoder, name, sides):
    check_a_sentence_is_the_same_alone(tiny_decoder(**MODELS[name]), sides)


def test_a_sentence_in_a_padded_batch_is_the_sentence_alone_with_a_span_and_distances(tiny_decoder):
    """On the right only: padding on the left would lie within the span of the first words."""
    check_a_sentence_is_the_same_alone(tiny_decoder(**MODELS["relative positions"]), "right")


@pytest.mark.parametrize("where", ["source", "target"])
def test_the_check_notices_padding_that_is_ignored(tiny_decoder, monkeypatch, where):
    some_padding = memory_steps.some_padding
    widths = {"source": 6, "target": 5}
    monkeypatch.setattr(
        memory_steps,
        "some_padding",
        lambda mask: None if mask.size(1) == widths[where] else some_padding(mask),
    )
    decoder = tiny_decoder(no_token_positional_embeddings=True)
    with pytest.raises(AssertionError):
        check_a_sentence_is_the_same_alone(decoder, "left")


def test_what_stands_in_padded_source_states_changes_nothing(tiny_decoder):
    decoder, tokens, source = tiny_decoder(), random_tokens([3, 3]), random_source([4, 2])
    before = logits_of(decoder, tokens, source)
    source["encoder_out"][0][2:, 1] = 1e6
    assert torch.equal(logits_of(decoder, tokens, source), before)


# --- Limit cases --------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", range(4))
def test_a_one_hot_mixture_is_that_layers_state(chosen):
    states = [torch.randn(5, 3, dtype=torch.float64) for _ in range(4)]
    learned, fixed = LayerMixture(3).double(), LayerMixture(3, str(chosen)).double()
    with torch.no_grad():
        learned.weight[chosen] = 1e4
    assert torch.equal(fixed(states)[0], states[chosen])
    torch.testing.assert_close(learned(states)[0], states[chosen], **EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_learned_mixture_starts_as_the_mean(dtype):
    mean, learned = LayerMixture(4, "mean").to(dtype), LayerMixture(4).to(dtype)
    torch.testing.assert_close(mean.probs(), learned.probs())
    assert mean.probs().dtype == dtype and list(mean.parameters()) == []


def test_first_and_last_are_the_embedding_and_the_last_layer(tiny_decoder):
    tokens, source = random_tokens([4]), random_source([3])
    for name, number in (("first", "0"), ("last", "2")):
        named, numbered = (tiny_decoder(memtx_memory_mixture=kind) for kind in (name, number))
        assert torch.equal(logits_of(named, tokens, source), logits_of(numbered, tokens, source))


def test_per_layer_projections_with_equal_weights_are_the_shared_one(tiny_decoder):
    shared, single = tiny_decoder(), tiny_decoder(memtx_memory_kv="per-layer")
    weights = shared.state_dict()
    for part in ("k_proj", "v_proj"):
        for kind in ("weight", "bias"):
            weights[f"memory.{part}.1.{kind}"] = weights[f"memory.{part}.0.{kind}"]
    single.load_state_dict(weights)
    tokens, source = random_tokens([5]), random_source([3])
    torch.testing.assert_close(
        logits_of(single, tokens, source), logits_of(shared, tokens, source), **EXACT
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_without_its_map_a_routed_mixture_is_the_softmax_one(tiny_decoder, channels):
    options = {"decoder_layers": 3, "memtx_memory_channels": channels}
    plain, routed = (
        tiny_decoder(memtx_memory_mixture=kind, **options) for kind in ("softmax", "routed")
    )
    fresh = RoutedMixture(3, 8, channels).router  # as a training begins
    assert not fresh.any()
    weights = {**plain.state_dict(), "memory.mixture.router": fresh.double()}
    tokens, source = random_tokens([5]), random_source([3])
    assert not torch.allclose(logits_of(routed, tokens, source), logits_of(plain, tokens, source))
    routed.load_state_dict(weights)
    torch.testing.assert_close(
        logits_of(routed, tokens, source), logits_of(plain, tokens, source), **EXACT
    )


def test_channels_with_equal_weights_are_one_channel(tiny_decoder):
    one, two = (tiny_decoder(memtx_memory_channels=channels) for channels in (1, 2))
    weights = one.state_dict()
    for part in ("k_proj", "v_proj"):
        for kind in ("weight", "bias"):
            weights[f"memory.{part}.1.{kind}"] = weights[f"memory.{part}.0.{kind}"]
    weights["memory.mixture.weight"] = weights["memory.mixture.weight"].expand(2, -1)
    two.load_state_dict(weights)
    tokens, source = random_tokens([5]), random_source([3])
    torch.testing.assert_close(
        logits_of(two, tokens, source), logits_of(one, tokens, source), **EXACT
    )


def test_distance_keys_of_zero_are_no_distance_keys(tiny_decoder):
    plain, relative = tiny_decoder(), tiny_decoder(memtx_relative_positions=3)
    zeros = {"memory.distance_keys": torch.zeros_like(relative.memory.distance_keys)}
    relative.load_state_dict({**plain.state_dict(), **zeros})
    tokens, source = random_tokens([5]), random_source([3])
    torch.testing.assert_close(
        logits_of(relative, tokens, source), logits_of(plain, tokens, source), **EXACT
    )


def test_a_span_as_long_as_the_target_is_no_span(tiny_decoder):
    tokens, source = random_tokens([6]), random_source([3])
    all_of_it = logits_of(tiny_decoder(), tokens, source)
    for span, same in ((5, True), (4, False)):
        bounded = logits_of(tiny_decoder(memtx_memory_span=span), tokens, source)
        assert torch.allclose(bounded, all_of_it, **EXACT) == same
        torch.testing.assert_close(bounded[:, :span], all_of_it[:, :span], **EXACT)


def test_a_span_of_one_needs_no_queries(tiny_decoder):
    """The softmax over a single memory is 1 at every position."""
    decoder = tiny_decoder(memtx_memory_span=1)
    tokens, source = random_tokens([6]), random_source([3])
    before = logits_of(decoder, tokens, source)
    with torch.no_grad():
        for layer in decoder.layers:
            layer.self_attn.q_proj.weight.normal_()
    torch.testing.assert_close(logits_of(decoder, tokens, source), before, **EXACT)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decoder_normalize_before": True},
        {"decoder_learned_pos": True, "layernorm_embedding": True},
        {"decoder_output_dim": 4, "activation_fn": "tanh"},
        {"share_decoder_input_output_embed": True, "no_token_positional_embeddings": True},
        {"decoder_normalize_before": True, "no_decoder_final_norm": True},
        {"no_cross_attention": True},
    ],
)
def test_without_values_in_memory_it_is_fairseqs_transformer(options):
    """Where attention to the past can only give zero, the rest must be fairseq's decoder."""
    ours = build_model(**options).decoder
    stock = build_model("transformer", seed=2, **options).decoder
    values = [m for layer in stock.layers for m in [layer.self_attn.v_proj]]
    with torch.no_grad():
        for parameter in [p for m in [*values, *ours.memory.v_proj] for p in m.parameters()]:
            parameter.zero_()
    own = stock.state_dict()
    shared = {name: value for name, value in ours.state_dict().items() if name in own}
    missing, unexpected = stock.load_state_dict(shared, strict=False)
    assert unexpected == []
    assert all(".self_attn.k_proj" in name or ".self_attn.v_proj" in name for name in missing)
    tokens, source = random_tokens([4, 2, 5], "both"), random_source([4, 3, 1])
    if options.get("no_cross_attention"):
        source["encoder_padding_mask"] = []
    (got, extra), (want, wanted) = ours(tokens, source), stock(tokens, source)
    real = tokens.ne(ours.padding_idx)
    torch.testing.assert_close(got[real], want[real], **FLOAT32)
    for a, b in zip(extra["inner_states"], wanted["inner_states"], strict=True):
        torch.testing.assert_close(a.transpose(0, 1)[real], b.transpose(0, 1)[real], **FLOAT32)
    if not options.get("no_cross_attention"):
        torch.testing.assert_close(extra["attn"][0][real], wanted["attn"][0][real], **FLOAT32)


# --- Gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decoder_layers": 1, "decoder_normalize_before": True},
        {"memtx_memory_mixture": "first", "memtx_memory_kv": "per-layer"},
        {"memtx_relative_positions": 5, "memtx_memory_span": 1},
        {"no_cross_attention": True},
        {"memtx_memory_mixture": "routed", "memtx_memory_channels": 2},
    ],
)
def test_every_parameter_gets_a_gradient_at_every_length(options, length):
    """Distributed training waits for the gradient of every parameter."""
    model = build_model(**options).train()
    tokens, source = random_tokens([length] * 2), random_tokens([3, 3])
    logits, _ = model(source, torch.tensor([3, 3]), tokens)
    logits.square().sum().backward()
    encoder_unused = options.get("no_cross_attention", False)
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert {
        name for name in without if not (encoder_unused and name.startswith("encoder."))
    } == set()


def test_two_graphs_alive_at_once_have_the_gradients_of_each(tiny_decoder):
    decoder = tiny_decoder()
    parameters = [p for p in decoder.parameters() if p.requires_grad]
    batches = [
        (random_tokens([4, 2]), random_source([3, 2])),
        (random_tokens([6]), random_source([5])),
    ]

    def gradients(loss: Tensor) -> list[Tensor]:
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    losses = [decoder(*batch)[0].square().sum() for batch in batches]
    together = [gradients(loss) for loss in reversed(losses)][::-1]
    for batch, got in zip(batches, together, strict=True):
        want = gradients(decoder(*batch)[0].square().sum())
        for a, b in zip(got, want, strict=True):
            assert torch.equal(a, b)


def test_gradients_of_a_batch_are_the_sum_over_its_sentences(tiny_decoder):
    decoder, tokens = tiny_decoder(), random_tokens([4, 2, 5])
    source = random_source([3, 6, 2])
    parameters = list(decoder.parameters())

    def gradients(rows: list[int]) -> list[Tensor]:
        rows = torch.tensor(rows)
        logits, _ = decoder(tokens[rows], select_source(source, rows))
        loss = logits[tokens[rows].ne(decoder.padding_idx)].square().sum()
        return torch.autograd.grad(loss, parameters)

    together, singly = gradients([0, 1, 2]), [gradients([row]) for row in range(3)]
    for got, parts in zip(together, zip(*singly, strict=True), strict=True):
        torch.testing.assert_close(got, sum(parts), rtol=1e-8, atol=1e-9)


def test_the_recurrence_passes_gradcheck():
    decoder = build_model(
        decoder_embed_dim=4, decoder_ffn_embed_dim=3, activation_fn="tanh"
    ).decoder
    sources = decoder.read_source(None)
    padding = random_tokens([3, 2], "left").eq(1)

    def run(x: Tensor) -> Tensor:
        recurrence = Recurrence(list(decoder.layers), decoder.memory, x, sources, padding)
        return torch.stack(ENGINES["reference"](recurrence).states)

    x = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, [x])


# --- Layer drop ---------------------------------------------------------------------------------


def test_layer_drop_runs_the_layers_it_draws_and_passes_the_state_of_the_others():
    """In training each pass equals the recurrence over the layers kept; in evaluation all run."""
    decoder = build_model(decoder_layers=4, decoder_layerdrop=0.5).decoder
    tokens, source = random_tokens([4, 3]), random_source([3, 5])
    x = decoder.embed(tokens)
    padding = tokens.eq(decoder.padding_idx)
    read = decoder.read_source(memory_steps.as_source(source))
    drawn: list[Any] = []
    kept_layers = decoder.kept_layers
    decoder.kept_layers = lambda: drawn.append(kept_layers()) or drawn[-1]
    decoder.train()
    for seed in range(6):
        torch.manual_seed(seed)
        states = decoder(tokens, source)[1]["inner_states"]
        want = ENGINES["reference"](Recurrence(drawn[-1], decoder.memory, x, read, padding))
        torch.testing.assert_close(states, want.states, **EXACT)
        for number, layer in enumerate(drawn[-1]):
            assert torch.equal(states[number], states[number + 1]) == (layer is None)
    patterns = {tuple(layer is None for layer in layers) for layers in drawn}
    assert len(patterns) > 2
    decoder.eval()(tokens, source)
    assert None not in drawn[-1]


def test_layer_drop_gives_no_alignment_where_the_alignment_layer_is_dropped():
    decoder = build_model(decoder_layers=2, decoder_layerdrop=0.5).decoder
    kept = list(decoder.layers)
    decoder.kept_layers = lambda: [kept[0], None]
    _, extra = decoder(random_tokens([3]), random_source([3]))
    assert extra["attn"] == [None]


def test_the_mixture_folds_the_share_of_layers_left_out_into_the_state_before():
    whole = LayerMixture(4).double()
    with torch.no_grad():
        whole.weight.copy_(torch.randn(5))
    kept = LayerMixture(2).double()
    kept.load_state_dict({"weight": fold_left_out(whole.weight.detach(), [1, 2])})
    a, b, c = (torch.randn(3, dtype=torch.float64) for _ in range(3))
    torch.testing.assert_close(kept([a, b, c])[0], whole([a, a, b, c, c])[0], **EXACT)
