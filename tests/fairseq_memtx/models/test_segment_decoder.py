"""Transformer-XL and Compressive as fairseq models: contract, memory between sentences, options."""

import copy
from types import SimpleNamespace

import pytest
import torch
from fairseq.checkpoint_utils import prune_state_dict
from fairseq.sequence_generator import SequenceGenerator
from fairseq.sequence_scorer import SequenceScorer

from fairseq_memtx.ground.errors import UserError
from tests.fairseq_memtx.segments import (
    CASES,
    EXACT,
    build,
    sample_of,
)
from tests.fairseq_memtx.tiny import (
    build_model,
    random_source,
    random_tokens,
    select_source,
    tiny_dictionary,
)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_step_by_step_equals_the_whole_across_segments_with_beams(case):
    decoder, source = build(case).decoder, random_source([4, 5, 1])
    tokens = random_tokens([14, 14, 14])
    whole, _ = decoder(tokens, source)
    rows = torch.arange(3).repeat_interleave(2)  # as fairseq repeats the source for each beam
    decoder.set_beam_size(2)
    state: dict = {}
    for t in range(tokens.size(1)):
        found, _ = decoder(tokens[rows, : t + 1], select_source(source, rows), state)
        torch.testing.assert_close(found[:, 0], whole[rows, t], **EXACT)
    assert decoder.get_incremental_state(state, "memory").sources[0].keys.size(0) == 3


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("with_gradients", [False, True])
def test_reorder_then_step_equals_the_reordered_prefixes(case, with_gradients):
    """Whether or not gradients are recorded, which fairseq's generators never do."""
    decoder, source = build(case).decoder, random_source([4, 5, 1])
    tokens, state, order = random_tokens([10, 10, 10]), {}, torch.tensor([2, 2, 0])
    with torch.set_grad_enabled(with_gradients):
        for t in range(9):
            decoder(tokens[:, : t + 1], source, state)
        decoder.reorder_incremental_state_scripting(state, order)
        tokens, source = tokens[order], select_source(source, order)
        found, _ = decoder(tokens, source, state)
        whole, _ = decoder(tokens, source)
    torch.testing.assert_close(found[:, 0], whole[:, -1], **EXACT)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_padding_on_either_side_changes_nothing(case):
    decoder, source, lengths = build(case).decoder, random_source([4, 5, 1]), [13, 5, 9]
    torch.manual_seed(5)
    right = random_tokens(lengths, "right")
    torch.manual_seed(5)
    both = random_tokens(lengths, "both")
    expected, extra = decoder(right, source, keep_memory=True)
    found, turned = decoder(both, source, keep_memory=True)
    for b, length in enumerate(lengths):
        rows = torch.tensor([b])
        alone, _ = decoder(right[rows, :length], select_source(source, rows))
        torch.testing.assert_close(expected[b, :length], alone[0], **EXACT)
        real = both[b].ne(decoder.padding_idx)
        torch.testing.assert_close(found[b, real], alone[0], **EXACT)
        torch.testing.assert_close(
            turned["attn"][0][b, real], extra["attn"][0][b, :length], **EXACT
        )
    for one, other in zip(extra["memory"].layers, turned["memory"].layers, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_search_with_padding_on_the_left_of_its_prefixes(case):
    """Within a segment it equals the whole; beyond it the rows' segments would end at once, though
    they began one after the other: that is refused rather than computed otherwise.
    """
    decoder, source, state = build(case).decoder, random_source([4, 5, 1]), {}
    tokens = random_tokens([5, 2, 4], "left")
    whole, _ = decoder(tokens[:, :4], source)
    for t in range(4):
        found, _ = decoder(tokens[:, : t + 1], source, state)
        real = tokens[:, t].ne(decoder.padding_idx)
        torch.testing.assert_close(found[real, 0], whole[real, t], **EXACT)
    with pytest.raises(ValueError, match="have none, or be no longer than a segm"):
        decoder(tokens, source, state)


@torch.no_grad()
def test_padding_on_the_right_of_prefixes_is_no_obstacle():
    """As of rows that have ended: they see nothing new and disturb nobody."""
    decoder, source, state = build().decoder, random_source([4, 5, 1]), {}
    tokens = random_tokens([11, 5, 8], "right")
    whole, _ = decoder(tokens, source)
    for t in range(11):
        found, _ = decoder(tokens[:, : t + 1], source, state)
        real = tokens[:, t].ne(decoder.padding_idx)
        torch.testing.assert_close(found[real, 0], whole[real, t], **EXACT)


@pytest.mark.parametrize("case", CASES)
def test_no_position_sees_a_later_word(case):
    decoder, source = build(case).decoder, random_source([4])
    tokens = random_tokens([14])
    before, _ = decoder(tokens, source)
    for t in (1, 4, 7, 12):
        changed = tokens.clone()
        changed[0, t] = 4 + (tokens[0, t] - 3) % 8
        after, _ = decoder(changed, source)
        torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=0)
        assert not torch.allclose(after[:, t], before[:, t])


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_memory_outlives_the_sentence(case):
    """Rows of a batch carry their own memory, as if each document had been translated alone."""
    decoder = build(case).decoder
    documents = [random_tokens([7, 11]), random_tokens([9, 3]), random_tokens([6, 8])]
    sources = [random_source([3, 4]) for _ in documents]
    memory = None
    together = []
    for tokens, source in zip(documents, sources, strict=True):
        logits, extra = decoder(tokens, source, memory=memory, keep_memory=True)
        memory = extra["memory"].detach()
        together.append(logits)
    for b in range(2):
        rows, memory = torch.tensor([b]), None
        for tokens, source, logits in zip(documents, sources, together, strict=True):
            length = int(tokens[b].ne(decoder.padding_idx).sum())
            found, extra = decoder(
                tokens[rows, :length], select_source(source, rows), memory=memory, keep_memory=True
            )
            memory = extra["memory"]
            torch.testing.assert_close(found[0], logits[b, :length], **EXACT)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_search_may_begin_with_the_memory_of_the_sentence_before(case):
    decoder, source = build(case).decoder, random_source([4, 5])
    _, extra = decoder(random_tokens([9, 5]), source, keep_memory=True)
    memory, tokens = extra["memory"], random_tokens([10, 10])
    order = torch.tensor([1, 1, 0])
    whole, _ = decoder(tokens, source, memory=memory)
    state: dict = {}
    for t in range(10):
        rows = slice(None) if t < 6 else order
        if t == 6:
            decoder.reorder_incremental_state_scripting(state, order)
        shown = select_source(source, torch.arange(2)[rows])
        found, _ = decoder(tokens[rows, : t + 1], shown, state, memory=memory)
        torch.testing.assert_close(found[:, 0], whole[rows, t], **EXACT)
    assert not torch.allclose(decoder(tokens, source)[0], whole)
    with pytest.raises(ValueError, match=r"the memory has .* rows instead of 1"):
        decoder(tokens[:1, :1], select_source(source, torch.tensor([0])), {}, memory=memory)


@torch.no_grad()
def test_the_memory_object_reorders_detaches_and_counts_its_bytes():
    decoder, source = build("conv").decoder, random_source([4, 5])
    _, extra = decoder(random_tokens([14, 14]), source, keep_memory=True)
    memory = extra["memory"]
    assert memory.size_bytes() == 2 * 2 * (4 + 3) * 8 * 8  # layers, rows, entries, C, float64
    turned = memory.reorder(torch.tensor([1, 0, 1]))
    torch.testing.assert_close(turned.layers[1].recent[2], memory.layers[1].recent[1])
    assert not any(x.requires_grad for layer in memory.detach().layers for x in layer[:2])


@pytest.mark.parametrize("case", ["xl", "conv", "most-used"])
@torch.no_grad()
def test_the_state_of_a_search_is_bounded(case):
    decoder, source = build(case, max_target_positions=1000).decoder, random_source([4])
    tokens, state, sizes = random_tokens([80]), {}, []
    for t in range(80):
        decoder(tokens[:, : t + 1], source, state)
        sizes.append(decoder.incremental_state_bytes(state))
    assert max(sizes[16:40]) == max(sizes[40:])
    entries = [
        layer.keys.length for layer in decoder.get_incremental_state(state, "memory").past.layers
    ]
    assert max(entries) <= 4 + 4 + (3 if case != "xl" else 0)


@pytest.mark.parametrize("case", CASES)
def test_a_pass_leaves_nothing_on_the_modules(case):
    model = build(case).train()
    before = copy.deepcopy(model.state_dict())
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    source, tokens = random_source([4, 5]), random_tokens([13, 5])
    first, _ = model.decoder(tokens, source, keep_memory=True)
    model.decoder(random_tokens([9, 9]), source, keep_memory=True)
    again, _ = model.decoder(tokens, source, keep_memory=True)
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes


def search(model, beam: int) -> list:
    generator = SequenceGenerator(
        [model], tiny_dictionary(), beam_size=beam, max_len_b=14, min_len=9
    )
    return generator.generate([model], sample_of([4, 6, 2], None))


@pytest.mark.parametrize("case", ["xl, pre-norm", "conv", "most-used"])
@torch.no_grad()
def test_the_scores_of_a_beam_search_are_those_of_the_whole_hypotheses(case):
    model = build(case)
    for number, hypotheses in enumerate(search(model, beam=3)):
        for hypothesis in hypotheses:
            sample = sample_of([4, 6, 2], None)
            source = sample["net_input"]["src_tokens"][number : number + 1]
            tokens = hypothesis["tokens"][None]
            previous = tokens.roll(1, dims=1)
            net_input = {
                "src_tokens": source,
                "src_lengths": source.ne(1).sum(dim=1),
                "prev_output_tokens": previous,
            }
            scored = SequenceScorer(tiny_dictionary()).generate(
                [model], {"net_input": net_input, "target": tokens}
            )
            torch.testing.assert_close(
                scored[0][0]["positional_scores"],
                hypothesis["positional_scores"],
                rtol=1e-6,
                atol=1e-6,
            )


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            "memtx_transformer_xl",
            {"segment_len": 0},
            "--memtx-segment-len is .* it has to be at least 1",
        ),
        ("memtx_transformer_xl", {"mem_len": -1}, "--memtx-mem-len is .* it has to be at least 0"),
        (
            "memtx_transformer_xl",
            {"eval_mem_len": -2},
            "--memtx-eval-mem-len is .* it has to be at least -1",
        ),
        (
            "memtx_transformer_xl",
            {"mem_len": 0, "same_length": True},
            "--memtx-mem-len is 0: it has to be at least 1 with --memtx-same-length",
        ),
        (
            "memtx_transformer_xl",
            {"position_keys": "learned", "clamp_len": 3},
            "--memtx-clamp-len is .* it has to be 0 with learned",
        ),
        ("memtx_transformer_xl", {"memory_layers": "0,7"}, "--memtx-memory-layers has '7'"),
        ("memtx_transformer_xl", {"memory_layers": "x"}, "--memtx-memory-layers has 'x'"),
        (
            "memtx_compressive",
            {"segment_len": 10, "compression_rate": 4},
            "--memtx-segment-len is 10: it has to be a multiple of --memtx-compression-rate 4",
        ),
        (
            "memtx_compressive",
            {"compression": "most-used", "mem_len": 20},
            "--memtx-mem-len is .* it has to be a multiple of --memtx-segment-len 32 with",
        ),
        (
            "memtx_compressive",
            {"compression": "magic"},
            "--memtx-compression is .* it has to be one of",
        ),
        (
            "memtx_compressive",
            {"compression": "mean-pool", "compression_loss": "auto-encoding"},
            "--memtx-compression-loss is .* leave it out with --memtx-compression mean-pool",
        ),
    ],
)
def test_impossible_options_are_refused_in_one_line(model, options, message):
    settings = {f"memtx_{name}": value for name, value in options.items()}
    with pytest.raises(UserError, match=message) as caught:
        build_model(model, arch=model, **settings)
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_other_lengths_for_decoding_change_no_parameter():
    short, tokens, source = build("conv"), random_tokens([25]), random_source([4])
    longer = build("conv", memtx_eval_mem_len=12, memtx_eval_cmem_len=6)
    again = build("conv", memtx_mem_len=12, memtx_cmem_len=6)
    for model in (longer, again):
        model.load_state_dict(short.state_dict())
    expected, _ = again.decoder(tokens, source)
    torch.testing.assert_close(longer.decoder(tokens, source)[0], expected, **EXACT)
    torch.testing.assert_close(
        longer.train().decoder(tokens, source)[0], short.train().decoder(tokens, source)[0], **EXACT
    )
    assert not torch.allclose(short.eval().decoder(tokens, source)[0], expected)


@torch.no_grad()
def test_layers_without_memory_see_their_segment_alone():
    decoder, tokens, source = (
        build("xl, layer 1 alone").decoder,
        random_tokens([8]),
        random_source([4]),
    )
    states = decoder(tokens, source)[1]["inner_states"]
    late = decoder(tokens[:, 4:], source)[1]["inner_states"]
    torch.testing.assert_close(states[1][4:], late[1], **EXACT)
    assert not torch.allclose(states[2][4:], late[2])


@torch.no_grad()
def test_a_pruned_decoder_is_the_whole_one_without_the_other_layers():
    whole = build("conv", decoder_layers=3, memtx_memory_layers="0,2")
    settings = {"decoder_layers": 2, "decoder_layers_to_keep": "0,2", "memtx_memory_layers": "0,2"}
    pruned = build("conv", **settings)
    kept = SimpleNamespace(decoder_layers_to_keep="0,2", encoder_layers_to_keep="0", arch="any")
    state = prune_state_dict(whole.state_dict(), kept)
    pruned.load_state_dict(state)
    tokens, source = random_tokens([14]), random_source([4])
    expected = whole.decoder.layers[1]
    whole.decoder.layers = torch.nn.ModuleList([whole.decoder.layers[0], whole.decoder.layers[2]])
    whole.decoder.num_layers = 2
    assert expected.has_memory is False
    torch.testing.assert_close(
        pruned.decoder(tokens, source)[0], whole.decoder(tokens, source)[0], **EXACT
    )


@pytest.mark.parametrize("case", ["xl", "conv"])
def test_a_dropped_layer_passes_its_state_and_keeps_its_memory(case):
    decoder, source = (
        build(case, decoder_layerdrop=0.5, decoder_layers=3).decoder,
        random_source([4]),
    )
    _, extra = decoder(random_tokens([9]), source, keep_memory=True)
    decoder.train()
    left_out = 0
    for seed in range(6):
        torch.manual_seed(seed)
        tokens = random_tokens([9])
        _, after = decoder(tokens, source, memory=extra["memory"], keep_memory=True)
        states, old, new = after["inner_states"], extra["memory"].layers, after["memory"].layers
        for i in range(2):  # the last state also holds the zeros of `touch_all`
            dropped = torch.equal(states[i], states[i + 1])
            left_out += dropped
            assert torch.equal(old[i].recent, new[i].recent) == dropped
    assert 0 < left_out < 12


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ["autocast", "half"])
def test_half_precision_trains_and_searches(case, how):
    model = build(case).float().train()
    tokens, source = random_tokens([13, 6]), random_source([4, 5])
    source["encoder_out"] = [source["encoder_out"][0].float()]
    if how == "half":
        model, source["encoder_out"] = model.half(), [source["encoder_out"][0].half()]
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        logits, extra = model.decoder(tokens, source)
        loss = logits.float().square().mean() + extra.get("compression_loss", 0.0)
    loss.backward()
    grads = [p.grad for p in model.decoder.parameters() if p.grad is not None]
    assert len(grads) == len(list(model.decoder.parameters()))
    assert all(grad.isfinite().all() for grad in grads)
    model.eval()
    state: dict = {}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        whole, _ = model.decoder(tokens, source)
        for t in range(6):
            found, _ = model.decoder(tokens[:, : t + 1], source, state)
            torch.testing.assert_close(found[:, 0].float(), whole[:, t].float(), rtol=0.1, atol=0.3)


# The criterion
