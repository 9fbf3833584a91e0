"""The Feedback decoder in a search: step by step = the whole target at once, however rows move."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairseq_memtx.modules import cache
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens, select_source

EXACT = {"rtol": 1e-9, "atol": 1e-11}
TARGET_LENGTHS, SOURCE_LENGTHS = [6, 3, 1, 5], [4, 6, 1, 2]

MODELS: dict[str, dict[str, Any]] = {
    "post-norm": {},
    "pre-norm, 3 layers": {"decoder_normalize_before": True, "decoder_layers": 3},
    "per-layer": {"memtx_memory_kv": "per-layer"},
    "span 2": {"memtx_memory_span": 2},
    "span 40": {"memtx_memory_span": 40, "memtx_memory_kv": "per-layer"},
    "relative positions": {"memtx_relative_positions": 3, "no_token_positional_embeddings": True},
    "relative positions, span": {"memtx_relative_positions": 9, "memtx_memory_span": 3},
    "learned positions": {"decoder_learned_pos": True},
    "embedding norm": {"layernorm_embedding": True, "no_scale_embedding": True},
    "other output dim": {"decoder_output_dim": 4},
    "shared embeddings": {"share_decoder_input_output_embed": True},
    "no cross-attention": {"no_cross_attention": True},
    "last layer's memory": {"memtx_memory_mixture": "last"},
    "routed": {"memtx_memory_mixture": "routed", "memtx_memory_span": 3},
    "channels": {"memtx_memory_channels": 2, "decoder_layers": 3},
    "routed channels, per-layer": {
        "memtx_memory_mixture": "routed",
        "memtx_memory_channels": 2,
        "memtx_memory_kv": "per-layer",
        "decoder_layers": 3,
        "decoder_normalize_before": True,
    },
}


def run_steps(decoder: Any, tokens: Tensor, source: Any) -> Tensor:
    """Logits `(B, T, V)` of the tokens fed one by one, as fairseq's generator does."""
    state: dict = {}
    steps = [
        decoder(tokens[:, : t + 1], source, incremental_state=state)[0]
        for t in range(tokens.size(1))
    ]
    return torch.cat(steps, dim=1)


def check_steps_equal_full(decoder: Any, tokens: Tensor, source: Any) -> None:
    """Incremental logits equal those of the whole target wherever there is a token."""
    real = tokens.ne(decoder.padding_idx)
    with torch.no_grad():
        full, _ = decoder(tokens, source)
        steps = run_steps(decoder, tokens, source)
    torch.testing.assert_close(steps[real], full[real], **EXACT)


def check_reorder_equals_recompute(
    decoder: Any, source: Any, orders: list[Tensor], beam_size: int = 1
) -> None:
    """After each random reordering, a step equals a fresh pass over the reordered prefixes."""
    decoder.set_beam_size(beam_size)
    rows = source["encoder_out"][0].size(1)
    tokens, state = random_tokens([1] * rows), {}
    for order in orders:
        with torch.no_grad():
            got, _ = decoder(tokens, source, incremental_state=state)
            want, _ = decoder(tokens, source)
        torch.testing.assert_close(got[:, -1], want[:, -1], **EXACT)
        # as fairseq's generator: tokens and source are reordered by it, the state by the decoder
        decoder.reorder_incremental_state_scripting(state, order)
        source = select_source(source, order)
        tokens = torch.cat([tokens[order], random_tokens([1] * len(order), first=5)], dim=1)
        tokens[:, -1] = torch.randint(4, 13, (len(order),))


def repeat_source(source: Any, beam_size: int) -> Any:
    """Each sentence `beam_size` times, as fairseq's generator hands it to the decoder."""
    rows = torch.arange(source["encoder_out"][0].size(1)).repeat_interleave(beam_size)
    return select_source(source, rows)


# --- Step by step -------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", ["right", "left"])
@pytest.mark.parametrize("name", MODELS)
def test_steps_equal_the_whole_target(tiny_decoder, name, sides):
    decoder = tiny_decoder(**MODELS[name])
    check_steps_equal_full(
        decoder, random_tokens(TARGET_LENGTHS, sides), random_source(SOURCE_LENGTHS)
    )


def test_steps_equal_the_whole_target_beyond_the_first_buffer(tiny_decoder):
    """The state makes room for 32 positions at first."""
    decoder = tiny_decoder(memtx_memory_kv="per-layer", max_target_positions=90)
    check_steps_equal_full(decoder, random_tokens([70, 33]), random_source([3, 2]))


def test_steps_equal_the_whole_target_without_an_encoder(tiny_decoder):
    check_steps_equal_full(tiny_decoder(), random_tokens([5, 3]), None)


def test_steps_equal_the_whole_target_with_adaptive_softmax(tiny_decoder):
    decoder = tiny_decoder(adaptive_softmax_cutoff="4,8", adaptive_softmax_factor=2)
    tokens, source = random_tokens(TARGET_LENGTHS), random_source(SOURCE_LENGTHS)
    real = tokens.ne(decoder.padding_idx)
    with torch.no_grad():
        full = decoder.get_normalized_probs(decoder(tokens, source), log_probs=True)
        steps = decoder.get_normalized_probs(
            (run_steps(decoder, tokens, source), {}), log_probs=True
        )
    torch.testing.assert_close(steps[real], full[real], **EXACT)
    sums = full.exp().sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums), **EXACT)


def test_steps_give_the_alignment_of_the_whole_target(tiny_decoder):
    decoder = tiny_decoder(decoder_layers=3)
    tokens, source, state = random_tokens([4, 4]), random_source([3, 5]), {}
    _, full = decoder(tokens, source, alignment_layer=1)
    for t in range(tokens.size(1)):
        _, step = decoder(tokens[:, : t + 1], source, incremental_state=state, alignment_layer=1)
        torch.testing.assert_close(step["attn"][0][:, 0], full["attn"][0][:, t], **EXACT)


@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_steps_equal_the_whole_target_for_several_beams(tiny_decoder, beam_size):
    decoder = tiny_decoder()
    decoder.set_beam_size(beam_size)
    source = repeat_source(random_source([4, 2]), beam_size)
    check_steps_equal_full(decoder, random_tokens([5] * 2 * beam_size), source)


# --- Reordering ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_step_after_reordering_equals_the_reordered_prefixes(tiny_decoder, name):
    """Rows repeat, change places, become fewer, and more."""
    orders = [[3, 0, 0, 1], [1, 1, 2, 3], [2, 0], [0, 1], [1, 0, 1], [0, 0, 0], [2]]
    decoder = tiny_decoder(**MODELS[name])
    check_reorder_equals_recompute(
        decoder, random_source(SOURCE_LENGTHS), [torch.tensor(order) for order in orders]
    )


@given(data=st.data(), beam_size=st.integers(1, 4), sentences=st.integers(1, 3))
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_reordering_of_beams_equals_the_reordered_prefixes(data, beam_size, sentences):
    """Orders as of a beam search at first, which drops sentences, then any orders at all."""
    decoder = build_model(memtx_memory_span=3, memtx_relative_positions=2).decoder
    source = repeat_source(random_source([1, 4, 2][:sentences]), beam_size)
    orders, left = [], sentences
    for _ in range(3):
        kept = sorted(data.draw(st.sets(st.integers(0, left - 1), min_size=1)))
        beams = st.lists(st.integers(0, beam_size - 1), min_size=beam_size, max_size=beam_size)
        orders.append([s * beam_size + i for s in kept for i in data.draw(beams)])
        left = len(kept)
    rows = len(orders[-1])
    orders += [data.draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows))] * 2
    orders.append([0])
    check_reorder_equals_recompute(
        decoder, source, [torch.tensor(order) for order in orders], beam_size
    )


def test_beams_that_mix_sentences_part_company_and_stay_right(tiny_decoder):
    source = repeat_source(random_source([4, 2]), 2)
    orders = [[1, 0, 3, 3], [0, 2, 3, 1], [3, 3, 0, 1], [1, 2], [0, 1]]
    check_reorder_equals_recompute(
        tiny_decoder(), source, [torch.tensor(order) for order in orders], beam_size=2
    )


@pytest.mark.parametrize("rows", [1, 3])
def test_a_number_of_rows_that_is_no_multiple_of_the_beams_stays_right(tiny_decoder, rows):
    source = repeat_source(random_source([4, 2]), 2)
    orders = [[1, 0, 3, 3], [3, 1, 2][:rows], [0] * rows]
    check_reorder_equals_recompute(
        tiny_decoder(), source, [torch.tensor(order) for order in orders], beam_size=2
    )


def memory_state(decoder: Any, state: dict) -> cache.DecodingState:
    return decoder.get_incremental_state(state, "memory")


def test_beams_keep_one_copy_of_their_source(tiny_decoder):
    """Shared and unshared sources give the same logits; sharing takes a third of the bytes."""
    decoder, source = tiny_decoder(), repeat_source(random_source([4, 2]), 3)
    tokens, shared, unshared = random_tokens([1] * 6), {}, {}
    with torch.no_grad():
        decoder.set_beam_size(3)
        got, _ = decoder(tokens, source, incremental_state=shared)
        decoder.set_beam_size(1)
        want, _ = decoder(tokens, source, incremental_state=unshared)
    torch.testing.assert_close(got, want, **EXACT)
    few, many = memory_state(decoder, shared), memory_state(decoder, unshared)
    assert (few.beam_size, many.beam_size) == (3, 1)
    for a, b in zip(few.sources, many.sources, strict=True):
        assert 3 * a.size_bytes() == b.size_bytes()
    decoder.reorder_incremental_state_scripting(shared, torch.tensor([1, 1, 0, 5, 3, 3]))
    assert memory_state(decoder, shared).beam_size == 3


def test_beams_with_different_sources_are_not_shared(tiny_decoder):
    """A decoder whose beam size is left over from another search must look at the rows."""
    decoder = tiny_decoder()
    decoder.set_beam_size(2)
    check_steps_equal_full(decoder, random_tokens([3, 3]), random_source([4, 4]))


def test_beams_with_different_padding_are_not_shared(tiny_decoder):
    """Equal encoder states, but a mask that hides more of them in the second row."""
    decoder, source = tiny_decoder(), repeat_source(random_source([4]), 2)
    source["encoder_padding_mask"][0][1, 2:] = True
    decoder.set_beam_size(2)
    check_steps_equal_full(decoder, random_tokens([3, 3]), source)


def test_two_searches_at_once_do_not_meet(tiny_decoder):
    decoder, source = tiny_decoder(), random_source([3])
    tokens = [random_tokens([4]), random_tokens([4])]
    states: list[dict] = [{}, {}]
    want = [run_steps(decoder, x, source) for x in tokens]
    got = [
        [
            decoder(x[:, : t + 1], source, incremental_state=s)[0]
            for x, s in zip(tokens, states, strict=True)
        ]
        for t in range(4)
    ]
    for number in range(2):
        torch.testing.assert_close(
            torch.cat([g[number] for g in got], dim=1), want[number], **EXACT
        )


# --- The state ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "memory, projections",
    [
        ({}, 1),
        ({"memtx_memory_kv": "per-layer"}, 3),
        ({"memtx_memory_channels": 2, "memtx_memory_mixture": "routed"}, 2),
        ({"memtx_memory_channels": 3}, 3),
    ],
)
@pytest.mark.parametrize("dtype, width", [(torch.float64, 8), (torch.float32, 4)])
def test_the_state_says_its_bytes(tiny_decoder, memory, projections, dtype, width):
    """Keys and values of t positions and a flag for each, and L times the source's."""
    decoder = tiny_decoder(decoder_layers=3, **memory).to(dtype)
    source = random_source([4, 2])
    source["encoder_out"] = [x.to(dtype) for x in source["encoder_out"]]
    tokens, state = random_tokens([5, 5]), {}
    assert decoder.incremental_state_bytes(state) == 0
    of_source = 3 * 2 * 4 * 2 * 8 * width  # layers, key and value, S, B, C
    for t in range(5):
        decoder(tokens[:, : t + 1], source, incremental_state=state)
        of_memory = (t + 1) * 2 * (projections * 2 * 8 * width + 1)  # t, B, (G, key and value, C)
        assert decoder.incremental_state_bytes(state) == of_memory + of_source
    decoder.reorder_incremental_state_scripting(state, torch.tensor([1]))
    assert decoder.incremental_state_bytes(state) == (of_memory + of_source) // 2


def test_what_a_step_returns_is_not_a_view_of_the_state(tiny_decoder):
    """fairseq's generator divides the logits in place."""
    decoder, source, tokens = tiny_decoder(), random_source([3, 2]), random_tokens([4, 4])
    want, state = run_steps(decoder, tokens, source), {}
    for t in range(4):
        with torch.no_grad():
            logits, extra = decoder(tokens[:, : t + 1], source, incremental_state=state)
        torch.testing.assert_close(logits[:, 0], want[:, t], **EXACT)
        for returned in [logits, *extra["attn"], *extra["inner_states"]]:
            returned.fill_(float("nan"))


def test_the_state_holds_no_graph(tiny_decoder):
    decoder, state = tiny_decoder(), {}
    tokens = random_tokens([2])
    decoder(tokens[:, :1], random_source([3]), incremental_state=state)
    past = memory_state(decoder, state).past
    assert not any(view.keys.requires_grad or view.values.requires_grad for view in past.views())


def test_a_step_that_is_nan_raises(tiny_decoder):
    decoder, source = tiny_decoder(), random_source([3])
    decoder(random_tokens([1]), source, incremental_state={})
    with torch.no_grad():
        decoder.layers[1].fc1.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="NaN"):
        decoder(random_tokens([1]), source, incremental_state={})


def test_a_growing_tensor_follows_any_order():
    """Against a plain list of rows, through growth, repeats, fewer and more rows."""
    tensor, rows = cache.GrowingTensor(torch.empty(3, 2), capacity=2), [[], [], []]
    for order in ([0, 1, 2], [2, 2, 0], [1], [0, 0, 0, 0], [3, 1]):
        for _ in range(2):
            position = torch.randn(len(rows), 2)
            tensor.add_position(position)
            rows = [[*row, x] for row, x in zip(rows, position, strict=True)]
        tensor.reorder(torch.tensor(order))
        rows = [rows[i] for i in order]
        want = torch.stack([torch.stack(row) for row in rows], dim=1)
        assert torch.equal(tensor.filled(), want)
        assert tensor.size_bytes() == want.numel() * 4


# --- Negative controls: the same checks must notice ---------------------------------------------


def test_the_check_notices_a_reordering_that_is_forgotten(tiny_decoder):
    decoder = tiny_decoder()
    decoder.reorder_incremental_state = lambda state, order: None
    orders = [torch.tensor(order) for order in ([1, 0], [1, 1], [0, 1])]
    with pytest.raises(AssertionError):
        check_reorder_equals_recompute(decoder, random_source([3, 3]), orders)


def test_the_check_notices_a_memory_that_is_not_reordered(tiny_decoder, monkeypatch):
    monkeypatch.setattr(cache.MemoryCache, "reorder", lambda self, order: None)
    orders = [torch.tensor(order) for order in ([1, 0], [1, 1], [0, 1])]
    with pytest.raises(AssertionError):
        check_reorder_equals_recompute(tiny_decoder(), random_source([3, 3]), orders)


def test_the_check_notices_sources_that_are_not_reordered(tiny_decoder, monkeypatch):
    monkeypatch.setattr(cache.CrossMemory, "select", lambda self, rows: self)
    orders = [torch.tensor(order) for order in ([1, 0], [1, 1], [0, 1])]
    with pytest.raises(AssertionError):
        check_reorder_equals_recompute(tiny_decoder(), random_source([3, 3]), orders)


def test_the_check_notices_a_state_that_is_reordered_twice(tiny_decoder):
    decoder = tiny_decoder()
    once = decoder.reorder_incremental_state
    decoder.reorder_incremental_state = lambda *args: (once(*args), once(*args))[0]
    orders = [torch.tensor(order) for order in ([1, 2, 0], [1, 2, 0], [0, 0, 1])]
    with pytest.raises(AssertionError):
        check_reorder_equals_recompute(decoder, random_source([3, 3, 2]), orders)


def test_the_check_notices_groups_of_beams_that_are_never_looked_at(tiny_decoder, monkeypatch):
    first_of_group = lambda self, order: order[:: self.beam_size] // self.beam_size  # noqa: E731
    monkeypatch.setattr(cache.DecodingState, "_sentences", first_of_group)
    orders = [torch.tensor(order) for order in ([1, 0, 3, 3], [0, 2, 3, 1], [0, 1, 2, 3])]
    source = repeat_source(random_source([4, 2]), 2)
    with pytest.raises(AssertionError):
        check_reorder_equals_recompute(tiny_decoder(), source, orders, beam_size=2)


def test_the_check_notices_a_memory_that_includes_the_current_position(tiny_decoder, monkeypatch):
    """A cache that shows a copy of its last entry one step late is as wrong as one too early."""
    views = cache.MemoryCache.views
    decoder = tiny_decoder()

    def with_one_more(self):
        seen = views(self)
        if len(self) == 0:
            return seen
        twice = lambda x: torch.cat([x, x[..., -1:, :]], dim=-2)  # noqa: E731
        return [v._replace(keys=twice(v.keys), values=twice(v.values)) for v in seen]

    monkeypatch.setattr(cache.MemoryCache, "views", with_one_more)
    with pytest.raises(AssertionError):
        check_steps_equal_full(decoder, random_tokens([4, 4]), random_source([3, 2]))


def test_the_check_notices_padding_that_the_state_forgets(tiny_decoder, monkeypatch):
    append = cache.MemoryCache.add_memory
    monkeypatch.setattr(
        cache.MemoryCache, "add_memory", lambda self, k, v, padding: append(self, k, v, None)
    )
    decoder = tiny_decoder(no_token_positional_embeddings=True)
    check_steps_equal_full(decoder, random_tokens([4, 4]), random_source([3, 2]))
    with pytest.raises(AssertionError):
        check_steps_equal_full(decoder, random_tokens([4, 2], "left"), random_source([3, 2]))


def test_the_check_notices_logits_that_are_a_view_of_the_state(tiny_decoder, monkeypatch):
    """The generator's division in place must change what comes after."""
    decoder, source = tiny_decoder(), random_source([3])
    monkeypatch.setattr(decoder, "output_layer", lambda features: features)
    tokens, state = random_tokens([2]), {}
    want = run_steps(decoder, tokens, source)[:, 1]
    with torch.no_grad():
        decoder(tokens[:, :1], source, incremental_state=state)
        memory_state(decoder, state).past._values.filled().div_(2.0)
        got, _ = decoder(tokens, source, incremental_state=state)
    assert not torch.allclose(got[:, 0], want)
