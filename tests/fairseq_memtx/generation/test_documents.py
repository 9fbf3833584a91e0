"""Documents in searches: the memory between sentences, and results that do not depend on lanes."""

import itertools
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fairseq_memtx.folder.shape_of import shape_of
from fairseq_memtx.generation.documents import (
    DocumentScorer,
    DocumentSearch,
    Reader,
    Sentences,
)
from fairseq_memtx.generation.generator import FastGenerator
from fairseq_memtx.generation.graph_searches import GraphSearches
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.models.memory_encoder import MemoryEncoder
from fairseq_memtx.modules.lane_memory import LaneBatch, LaneMemories, LaneRow
from fairseq_memtx.modules.pair_memory import PairMemory
from fairseq_memtx.modules.rounding import round_model
from fairseq_memtx.native.searches import NativeSearches
from tests.choosing import some
from tests.fairseq_memtx.document_training import (
    MODELS,
    VALID,
    batches_of,
    every_model,
    make_documents,
    task_and_model,
)
from tests.fairseq_memtx.native import compare

EXACT = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_documents(tmp_path_factory.mktemp("documents"))


def generator_for(task, model, **options: Any) -> FastGenerator:
    options = {"beam_size": 3, "max_len_a": 1.0, "max_len_b": 2, **options}
    return FastGenerator([model], task.target_dictionary, **options)


def translations(task, model, context: int = -1, gold: bool = False, **settings) -> dict[int, Any]:
    """Words and score of the best hypothesis of each sentence of the validation set."""
    task.document_options = type(task.document_options)(context=context, gold_context=gold)
    generator, found = generator_for(task, model), {}
    for batch in batches_of(task, **settings):
        hypotheses = task.inference_step(generator, [model], batch)
        for number, (best, *_) in zip(batch["id"].tolist(), hypotheses, strict=True):
            found[number] = best["tokens"].tolist(), round(float(best["score"]), 4)
    return found


@torch.no_grad()
def naive(task, model, context: int = 10**6, gold: bool = False) -> dict[int, Any]:
    """The same, plainly: a sentence at a time, its memory made anew from all that it is made of."""
    generator, found, start, data = generator_for(task, model), {}, 0, task.dataset("valid")
    for size in VALID:
        past: list[tuple[Tensor, Tensor]] = []
        for number in range(start, start + size):
            memory = None
            for source, words in past[max(0, len(past) - context) :]:
                memory = read_pair(model, source, words, memory)
            source = data[number]["source"]
            net_input = {"src_tokens": source[None], "src_lengths": torch.tensor([len(source)])}
            sample = {"net_input": net_input}
            if memory is not None:
                sample["lanes"] = Given(memory)
            (hypotheses,) = generator.generate([model], sample)
            words = hypotheses[0]["tokens"]
            found[number] = words.tolist(), round(float(hypotheses[0]["score"]), 4)
            past.append((source, data[number]["target"] if gold else words))
        start += size
    return found


def encoded(model, source: Tensor, memory: Any, **keep: bool) -> dict[str, Any]:
    """The encoder's output, the sentences before remembered where the encoder does so."""
    own = {}
    if isinstance(model.encoder, MemoryEncoder):
        own = {"memory": None if memory is None else memory.source, **keep}
    return model.encoder(source[None], torch.tensor([len(source)]), **own)


def of_decoder(memory: Any) -> Any:
    return memory.target if isinstance(memory, PairMemory) else memory


def read_pair(model, source: Tensor, words: Tensor, memory: Any) -> Any:
    """The memory after a pair, the end symbol of `words` last."""
    encoder_out = encoded(model, source, memory, keep_memory=True)
    shifted = torch.cat([words[-1:], words[:-1]])[None]
    _, extra = model.decoder(
        shifted, encoder_out=encoder_out, memory=of_decoder(memory), keep_memory=True
    )
    if "memory" not in encoder_out:
        return extra["memory"]
    return PairMemory(encoder_out["memory"], extra["memory"])


class Given:
    """A memory in the place of a `LaneBatch`."""

    def __init__(self, memory: Any):
        self.memory = memory

    def read(self, reader: Any, like: Tensor) -> Any:
        return self.memory


@every_model
def test_lanes_find_what_documents_one_by_one_find(name, data) -> None:
    task, model = task_and_model(data, name)
    found = translations(task, model)
    assert found == naive(task, model)
    assert found != naive(task, model, context=0)
    one_by_one, _ = task_and_model(data, name, "--memtx-lanes", "1")
    assert translations(one_by_one, model, max_sentences=1) == found


def test_the_memories_of_all_channels_are_carried(data) -> None:
    flags = "--decoder-layers 2 --memtx-memory-channels 2 --memtx-memory-mixture routed"
    task, model = task_and_model(data, "feedback", *flags.split())
    found = translations(task, model)
    assert found == naive(task, model)
    assert found != naive(task, model, context=0)


@pytest.mark.parametrize(("name", "context"), some(itertools.product(MODELS, [-1, 2]), 3))
def test_the_native_engine_finds_what_pytorch_finds(name, context, data) -> None:
    task, model = task_and_model(data, name)
    task.document_options = type(task.document_options)(context=context)
    model, watched, found = compare.final(model), compare.Watched(threads=2), []
    for native in (watched, None):
        generator = generator_for(task, model, native=native)
        batches = list(batches_of(task))
        found.append([h for b in batches for h in task.inference_step(generator, [model], b)])
    searched = 0 if "encoder" in name else len(batches)
    assert watched.num_found == searched, watched.reasons
    compare.same(*found)


@pytest.mark.parametrize(
    "name",
    ["feedback", *(pytest.param(x, marks=pytest.mark.slow) for x in ("compressive", "encoder"))],
)
def test_the_context_may_be_cut_or_be_that_of_the_references(name, data) -> None:
    task, model = task_and_model(data, name)
    whole = translations(task, model)
    assert translations(task, model, context=max(VALID)) == whole
    for context in (0, 1, 2):
        cut = translations(task, model, context=context)
        assert cut == naive(task, model, context=context)
        assert cut != whole
    gold = translations(task, model, gold=True)
    assert gold == naive(task, model, gold=True)
    assert gold != whole


@torch.no_grad()
@pytest.mark.parametrize("name", ["feedback", "transformer-xl", "compressive", "encoder"])
def test_the_memory_is_what_the_search_holds_for_the_sentence(name, data) -> None:
    task, model = task_and_model(data, name)
    memories, reader = LaneMemories(), Reader([model], task.source_dictionary.pad())
    pairs = [task.dataset("valid")[number] for number in (0, 1, 2)]
    words = [torch.cat([p["target"][-1:], p["target"][:-1]]) for p in pairs]
    rows = [LaneRow(0, number, number - 1) for number in range(4)]
    for number in range(2):
        reader.read(Sentences([rows[number]], [pairs[number]["source"]], [words[number]]), memories)
    before = memories.read(id(model), [rows[2]])
    source = pairs[2]["source"]
    encoder_out, state = encoded(model, source, before, keep_memory=True), {}
    for end in range(1, len(words[2]) + 1):
        model.decoder(
            words[2][None, :end],
            encoder_out=encoder_out,
            incremental_state=state,
            memory=of_decoder(before),
        )
    reader.read(Sentences([rows[2]], [source], [words[2]]), memories)
    after = memories.read(id(model), [rows[3]])
    if name == "encoder":
        for one, other in zip(encoder_out["memory"].layers, after.source.layers, strict=True):
            assert one.recent.size(1) == 20  # some of it is of the sentences before
            torch.testing.assert_close(one.recent, other.recent, **EXACT)
        after = after.target
    past = model.decoder.get_incremental_state(state, "memory").past
    if name == "feedback":
        held = past._keys.filled()[-len(after) :]  # (P, N, G, H, D)
        torch.testing.assert_close(held.permute(2, 1, 3, 0, 4), after.keys, **EXACT)
        return
    for cache, layer in zip(past.layers, after.layers, strict=True):
        keys, values = cache._entries(layer.recent)
        assert len(keys) > len(words[2])  # some of it is of the sentences before
        torch.testing.assert_close(cache.keys.filled()[-len(keys) :], keys, **EXACT)
        torch.testing.assert_close(cache.values.filled()[-len(keys) :], values, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["encoder", pytest.param("feedback, encoder", marks=pytest.mark.slow)]
)
def test_a_search_reads_its_source_with_the_memory_that_the_reading_after_it_has(
    name, data
) -> None:
    """Its scores are those of the pair that is then read."""
    task, model = task_and_model(data, name)
    memories, reader = LaneMemories(), Reader([model], task.source_dictionary.pad())
    generator, apart = generator_for(task, model), []
    for number in range(4):
        row, source = LaneRow(0, number, number - 1), task.dataset("valid")[number]["source"]
        net_input = {"src_tokens": source[None], "src_lengths": torch.tensor([len(source)])}
        sample = {"net_input": net_input, "lanes": LaneBatch(memories, [row])}
        ((best, *_),) = generator.generate([model], sample)
        read = Sentences([row], [source], [best["tokens"].roll(1)])
        (score,) = reader.score(read, memories)
        assert float(best["positional_scores"].sum()) == pytest.approx(score, rel=1e-5)
        encoder_out = encoded(model, source, None)
        memory = of_decoder(memories.read(id(model), [row]))
        logits, _ = model.decoder(read.inputs[0][None], encoder_out=encoder_out, memory=memory)
        other = logits[0].log_softmax(-1)[torch.arange(len(best["tokens"])), best["tokens"]].sum()
        apart.append(abs(float(other) - score) > 1e-3)  # with another source it is another
        reader.read(read, memories)
    assert apart == [False, True, True, True]


@torch.no_grad()
@pytest.mark.parametrize("name", ["feedback", "compressive", "encoder"])
def test_translations_are_scored_after_those_before_them(name, data) -> None:
    task, model = task_and_model(data, name)
    pad, eos = task.source_dictionary.pad(), task.source_dictionary.eos()
    pairs = [task.dataset("valid")[number] for number in range(3)]
    other = torch.tensor([4, 9, eos])
    given = [[pair["target"], other] for pair in pairs]
    given[1] = given[1][:1]
    scorer, memory = DocumentScorer(Reader([model], pad)), None
    alone = DocumentScorer(Reader([model], pad), context=0)
    for number, pair in enumerate(pairs):
        row = LaneRow(0, number, number - 1)
        (found,) = scorer.score([row], [pair["source"]], [given[number]])
        encoder_out = encoded(model, pair["source"], memory)
        for words, score in zip(given[number], found, strict=True):
            inputs = torch.cat([words[-1:], words[:-1]])[None]
            logits, _ = model.decoder(inputs, encoder_out=encoder_out, memory=of_decoder(memory))
            plain = logits[0].log_softmax(-1)[torch.arange(len(words)), words].sum()
            torch.testing.assert_close(torch.tensor(score), plain.float(), rtol=1e-6, atol=1e-6)
        memory = read_pair(model, pair["source"], pair["target"], memory)
        (without,) = alone.score([row], [pair["source"]], [given[number]])
        assert (without == pytest.approx(found, rel=1e-9)) == (number == 0)


def test_scores_do_not_depend_on_lanes_and_are_those_of_an_ensemble(data) -> None:
    task, one = task_and_model(data, "transformer-xl")
    _, other = task_and_model(data, "feedback")
    pairs = [task.dataset("valid")[number] for number in range(2)]
    sources, given = [p["source"] for p in pairs], [[p["target"]] for p in pairs]
    rows = [LaneRow(0, 5, -1), LaneRow(3, 9, -1)]
    pad = task.source_dictionary.pad()
    both = DocumentScorer(Reader([one, one], pad)).score(rows, sources, given)
    single = DocumentScorer(Reader([one], pad)).score(rows, sources, given)
    assert both == [pytest.approx(scores) for scores in single]
    mixed = DocumentScorer(Reader([one, other], pad)).score(rows, sources, given)
    assert mixed != [pytest.approx(scores) for scores in single]
    for row, source, chosen, want in zip(rows, sources, given, single, strict=True):
        (found,) = DocumentScorer(Reader([one], pad)).score([row], [source], [chosen])
        assert found == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("name", ["transformer-xl", "encoder"])
def test_a_sentence_without_words_stays_so_and_leaves_no_memory(name, data) -> None:
    task, model = task_and_model(data, name)
    pad, eos = task.source_dictionary.pad(), task.source_dictionary.eos()
    sources = [[5, 6, 7, eos], [eos], [8, 9, eos]]
    found = {}
    for kept in ((0, 1, 2), (0, 2)):
        search = DocumentSearch(
            generator_for(task, model), [model], Reader([model], pad), context=-1
        )
        before, best = -1, []
        for number in kept:
            tokens = torch.tensor([sources[number]])
            net_input = {"src_tokens": tokens, "src_lengths": torch.tensor([tokens.size(1)])}
            (hypotheses,) = search.translate(net_input, [LaneRow(0, number, before)])
            best.append(hypotheses[0]["tokens"].tolist())
            before = number
        found[kept] = best
    assert found[0, 1, 2][1] == [eos]
    assert found[0, 1, 2][::2] == found[0, 2]


@pytest.mark.parametrize("name", ["compressive", pytest.param("encoder", marks=pytest.mark.slow)])
def test_memory_stays_as_it_is_however_long_a_document(name, data) -> None:
    task, model = task_and_model(data, name)
    reader = Reader([model], task.source_dictionary.pad())
    search = DocumentSearch(generator_for(task, model), [model], reader)
    sizes = []
    for number in range(60):
        tokens = torch.tensor([[4 + number % 8, 5, 6, 7, 2]])
        net_input = {"src_tokens": tokens, "src_lengths": torch.tensor([5])}
        search.translate(net_input, [LaneRow(0, number, number - 1)])
        sizes.append(search.size_bytes())
    assert sizes[0] < sizes[10]
    assert set(sizes[20:]) == {max(sizes)}


def test_an_ensemble_remembers_what_it_chose_together(data) -> None:
    task, one = task_and_model(data, "transformer-xl")
    _, other = task_and_model(data, "feedback, encoder")
    task.document_options = type(task.document_options)()
    generator = FastGenerator([one, other], task.target_dictionary, beam_size=2, max_len_b=3)
    found = {}
    for batch in batches_of(task):
        hypotheses = task.inference_step(generator, [one, other], batch)
        found |= zip(batch["id"].tolist(), hypotheses, strict=True)
    assert found.keys() == set(range(sum(VALID)))
    assert task._search._context.memories._lanes.keys() == {id(one), id(other)}


def test_what_cannot_search_documents_is_refused_or_told(data, caplog) -> None:
    task, model = task_and_model(data, "transformer-xl")
    generator = generator_for(task, model, native=NativeSearches(), graphs=GraphSearches())
    (batch, *_) = batches_of(task)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            task.inference_step(generator, [model], batch)
    for told in (
        "searching documents without recorded steps, which begin each sentence without memory",
        "searching without the native engine: its weights are not in float32 on a CPU",
    ):
        assert caplog.text.count(told) == 1
    with pytest.raises(UserError, match="--prefix-size and --constraints cannot be used"):
        task.inference_step(generator, [model], batch, prefix_tokens=batch["target"][:, :1])
    with pytest.raises(UserError, match="only --memtx-generator fast translates documents"):
        DocumentSearch(object(), [model], Reader([model], 1))


@torch.no_grad()
def test_an_encoder_that_remembers_has_nothing_before_a_sentence_by_itself(data, caplog) -> None:
    """PyTorch searches, which is told once, and the model is none for a folder."""
    task, model = task_and_model(data, "encoder")
    model = model.float()
    model.make_generation_fast_()
    sources = [task.dataset("valid")[number]["source"] for number in range(2)]
    found, generator = [], generator_for(task, model, native=NativeSearches())
    with caplog.at_level(logging.INFO):
        for lanes in (None, LaneMemories()):
            for source in sources:
                net_input = {"src_tokens": source[None], "src_lengths": torch.tensor([len(source)])}
                sample = {"net_input": net_input}
                if lanes is not None:
                    sample["lanes"] = LaneBatch(lanes, [LaneRow(0, 5, -1)])
                ((best, *_),) = generator.generate([model], sample)
                found.append((best["tokens"].tolist(), float(best["score"])))
    assert found[:2] == found[2:]
    assert caplog.text.count("without the native engine: its encoder is no plain Transf") == 1
    with pytest.raises(UserError, match="cannot be exported: its encoder is no plain Transformer"):
        shape_of(model)


def test_in_eight_bits_documents_go_on_too(data) -> None:
    task, model = task_and_model(data, "encoder")
    model.float().make_generation_fast_()
    with_memory, without = (
        translations(task, round_model(model), context=context) for context in (-1, 0)
    )
    assert with_memory.keys() == without.keys() == set(range(sum(VALID)))
    same = {number for number, found in with_memory.items() if found == without[number]}
    assert len(same) < sum(VALID) // 2
