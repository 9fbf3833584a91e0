"""The decoders as language models, and the memory that follows a text through its blocks."""

import math
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fairseq.models import ARCH_MODEL_REGISTRY, FairseqDecoder
from fairseq.models.transformer_lm import base_lm_architecture
from fairseq.sequence_generator import SequenceGenerator
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks.language_modeling import LanguageModelingTask

import fairseq_memtx.plugin  # noqa: F401
from fairseq_memtx.data.streams import StreamBatches
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentMemory
from fairseq_memtx.modules.stream_memory import StreamBlock, StreamMemory
from fairseq_memtx.tasks.language_modeling import MemtxLanguageModelingTask
from tests.fairseq_memtx.tiny import scatter_weights, tiny_dictionary
from tests.reliability.fairseq_commands import run

EXACT = {"rtol": 1e-9, "atol": 1e-11}
SEGMENTS = {"memtx_segment_len": 4, "memtx_mem_len": 4}
RELATIVE = {"memtx_relative_positions": 9, "no_token_positional_embeddings": True}
MODELS = {
    "feedback": ("memtx_feedback_lm", {}),
    "feedback, relative": ("memtx_feedback_lm", {**RELATIVE, "memtx_memory_span": 6}),
    "feedback, routed channels": (
        "memtx_feedback_lm",
        {
            **RELATIVE,
            "memtx_memory_span": 6,
            "memtx_memory_mixture": "routed",
            "memtx_memory_channels": 2,
            "decoder_layers": 3,
        },
    ),
    "transformer-xl": ("memtx_transformer_xl_lm", SEGMENTS),
    "compressive": (
        "memtx_compressive_lm",
        {**SEGMENTS, "memtx_cmem_len": 3, "memtx_compression_rate": 2},
    ),
}
WITH_MEMORY = [name for name in MODELS if name != "feedback"]


def build(name: str, **settings):
    model, options = MODELS[name]
    sizes = {"decoder_embed_dim": 8, "decoder_ffn_embed_dim": 10, "decoder_attention_heads": 2}
    args = Namespace(
        **{
            **{"arch": model, "decoder_layers": 2, "dropout": 0.0, "tokens_per_sample": 64},
            **sizes,
            **options,
            **settings,
        }
    )
    base_lm_architecture(args)
    dictionary = tiny_dictionary()
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    built = ARCH_MODEL_REGISTRY[model].build_model(args, task).double().eval()
    scatter_weights(built)
    return built


def words(number: int) -> torch.Tensor:
    return torch.randint(4, 13, (number,))


def task_of(block: int) -> MemtxLanguageModelingTask:
    return MemtxLanguageModelingTask(Namespace(tokens_per_sample=block), tiny_dictionary())


@pytest.mark.parametrize("model", MODELS)
@torch.no_grad()
def test_step_by_step_equals_the_whole(model):
    lm, tokens, state = build(model), words(14)[None], {}
    whole, _ = lm(tokens)
    for t in range(14):
        found, _ = lm.decoder(tokens[:, : t + 1], incremental_state=state)
        torch.testing.assert_close(found[:, 0], whole[:, t], **EXACT)


@pytest.mark.parametrize("model", WITH_MEMORY)
@torch.no_grad()
def test_blocks_with_carried_memory_equal_the_text_in_one_piece(model):
    lm, tokens = build(model), words(48).view(2, 24)
    whole, _ = lm(tokens)
    memory = StreamMemory()
    for number, block in enumerate(tokens.split(8, dim=1)):
        found, extra = lm(block, stream=StreamBlock(memory, number))
        torch.testing.assert_close(found, whole[:, 8 * number : 8 * number + 8], **EXACT)
        assert "memory" not in extra
    assert not torch.allclose(lm(tokens[:, 8:16])[0], whole[:, 8:16])


def in_blocks(lm, tokens: torch.Tensor) -> torch.Tensor:
    """The logits of a text read in blocks of 8."""
    memory = StreamMemory()
    parts = [
        lm(block, stream=StreamBlock(memory, number))[0]
        for number, block in enumerate(tokens.split(8, dim=1))
    ]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def test_feedback_carries_as_much_as_it_is_told():
    tokens, settings = words(48).view(2, 24), {**RELATIVE, "memtx_memory_span": 6}
    model = build("feedback", **settings)
    whole, alone = model(tokens)[0], model(tokens[:, 8:16])[0]
    for length, same in ((6, True), (20, True), (5, False), (0, False)):
        lm = build("feedback", **settings, memtx_carry_len=length)
        lm.load_state_dict(model.state_dict())
        found = in_blocks(lm, tokens)
        assert torch.allclose(found, whole, **EXACT) == same
    torch.testing.assert_close(found[:, 8:16], alone, **EXACT)  # none carried
    unlimited = build("feedback", **RELATIVE)  # as many as a block has: enough for two blocks
    found = in_blocks(unlimited, tokens)
    torch.testing.assert_close(found[:, :16], unlimited(tokens[:, :16])[0], **EXACT)
    assert not torch.allclose(found[:, 16:], unlimited(tokens)[0][:, 16:], **EXACT)


@torch.no_grad()
def test_absolute_positions_are_not_carried():
    lm, tokens = build("feedback"), words(32).view(2, 16)
    torch.testing.assert_close(in_blocks(lm, tokens)[:, 8:], lm(tokens[:, 8:])[0], **EXACT)
    with pytest.raises(
        UserError, match=r"--memtx-carry-len is .* it has to be 0 with absolute positions"
    ):
        build("feedback", memtx_carry_len=3)


@pytest.mark.parametrize("engine", ["reference", "parallel"])
def test_every_engine_carries_memory_in_training(engine):
    tokens, settings = words(32).view(2, 16), {**RELATIVE, "memtx_memory_span": 6}
    lm = build("feedback", **settings).train()
    other = build("feedback", **settings, memtx_engine=engine).train()
    other.load_state_dict(lm.state_dict())
    torch.testing.assert_close(in_blocks(other, tokens), in_blocks(lm, tokens), **EXACT)


@pytest.mark.parametrize("model", WITH_MEMORY)
@torch.no_grad()
def test_a_search_goes_on_from_the_text_before(model):
    lm, tokens, state = build(model), words(40).view(2, 20), {}
    whole, _ = lm(tokens)
    _, extra = lm.decoder(tokens[:, :12], keep_memory=True)
    for t in range(12, 20):
        prefix = tokens[:, 12 : t + 1]
        found, _ = lm.decoder(prefix, incremental_state=state, memory=extra["memory"])
        torch.testing.assert_close(found[:, 0], whole[:, t], **EXACT)
    with pytest.raises(ValueError, match="the memory has 2 rows instead of 1"):
        lm.decoder(tokens[:1, :1], incremental_state={}, memory=extra["memory"])


@pytest.mark.parametrize("model", WITH_MEMORY)
def test_gradients_end_with_the_block(model):
    """Its own loss teaches the memory's parameters, not the block that left the memory."""
    lm, tokens, memory = build(model).train(), words(32).view(2, 16), StreamMemory()
    lm(tokens[:, :8], stream=StreamBlock(memory, 0))
    out, _ = lm(tokens[:, 8:], stream=StreamBlock(memory, 1))
    out.sum().backward()
    used = lm.decoder.embed_tokens.weight.grad.abs().sum(dim=1) > 0
    assert used.nonzero().flatten().tolist() == sorted(set(tokens[:, 8:].flatten().tolist()))


def memory_number(value: float) -> SegmentMemory:
    states = torch.full((1, 1, 1), float(value), requires_grad=True) * 1.0
    return SegmentMemory([LayerMemory(states, states)])


def value_of(memory: SegmentMemory | None) -> float | None:
    return None if memory is None else memory.layers[0].recent.item()


def test_a_stream_keeps_its_memory_through_repeated_and_dummy_batches():
    memory = StreamMemory()
    for block in range(3):
        memory.write("model", block, memory_number(block))
    assert value_of(memory.read("model", 3)) == 2.0
    assert value_of(memory.read("model", 2)) == 1.0  # the same batch once more ...
    memory.write("model", 2, memory_number(9.0))
    assert value_of(memory.read("model", 3)) == 2.0  # ... changes nothing
    assert memory.read("model", 0) is None
    memory.write("model", 0, memory_number(9.0))  # nor does a dummy batch
    assert value_of(memory.read("model", 3)) == 2.0
    assert memory.read("model", 7) is None  # not the block before it
    assert memory.read("other model", 3) is None
    assert not memory.read("model", 3).layers[0].recent.requires_grad


def test_the_rows_of_a_text_follow_each_other():
    text = torch.arange(4, 26)
    batches = StreamBatches(text, rows=2, block=4, eos=2, pad=1, num_shards=2, shard=1)
    assert len(batches) == 2
    rows = torch.cat([batches[i]["target"] for i in range(2)], dim=1)
    assert rows.tolist() == [[16, 17, 18, 19, 20, 21], [22, 23, 24, 25, 1, 1]]
    sources = torch.cat([batches[i]["net_input"]["src_tokens"] for i in range(2)], dim=1)
    assert sources.tolist() == [[15, 16, 17, 18, 19, 20], [21, 22, 23, 24, 1, 1]]
    assert [batches[i]["ntokens"] for i in range(2)] == [8, 2]
    first = StreamBatches(text, rows=2, block=4, eos=2, pad=1, num_shards=2, shard=0)
    assert first[0]["net_input"]["src_tokens"][0].tolist() == [2, 4, 5, 6]


@pytest.mark.parametrize("model", WITH_MEMORY)
@torch.no_grad()
def test_evaluation_in_blocks_scores_the_text_as_in_one_piece(model):
    lm, task, text = build(model), task_of(block=8), words(30)
    whole = task._batches((text, None), 1, 1, 0, block=30)
    scorer = SequenceScorer(tiny_dictionary())
    (expected,) = scorer.generate([lm], whole[0])[0]
    found = [
        scorer.generate([lm], sample)[0][0]["positional_scores"]
        for sample in task.eval_lm_dataloader(whole, num_workers=0)
    ]
    scores = torch.cat(found)
    torch.testing.assert_close(scores, expected["positional_scores"], rtol=1e-5, atol=1e-6)
    twice = [
        scorer.generate([lm, lm.double()], sample)[0][0]["positional_scores"]
        for sample in task.eval_lm_dataloader(whole, num_workers=0)
    ]
    torch.testing.assert_close(torch.cat(twice), scores, rtol=1e-5, atol=1e-6)


def test_validation_does_not_disturb_the_memory_of_training():
    task, seen = task_of(block=4), []
    samples = [task._batches((words(16), None), 1, 1, 0)[i] for i in range(4)]

    def criterion(model, sample):
        stream = sample["net_input"].get("stream")
        if stream is not None:
            seen.append(value_of(stream.read("model", torch.zeros(()))))
            stream.write("model", memory_number(10.0 * sample["block"] + model))
        return torch.zeros(()), 1, {}

    class Model(int):
        def train(self): ...
        def eval(self): ...
        def set_num_updates(self, number): ...
        def parameters(self):
            return [torch.zeros(1)]

    optimizer = SimpleNamespace(backward=lambda loss: None)

    def train(number, ignore_grad=False):
        task.train_step(samples[number], Model(1), criterion, optimizer, 0, ignore_grad)

    train(0), train(1)
    task.valid_step(samples[0], Model(2), criterion)
    task.valid_step(samples[1], Model(2), criterion)
    train(0, ignore_grad=True)
    train(2)
    train(0)
    assert seen == [None, 1.0, None, 2.0, 11.0, None]


class Recomputing(torch.nn.Module):
    """A language model without state in a search."""

    class Decoder(FairseqDecoder):
        def __init__(self, lm):
            super().__init__(tiny_dictionary())
            self.whole = lm.decoder

        def forward(self, tokens, encoder_out=None):
            return self.whole(tokens)

    def __init__(self, lm):
        super().__init__()
        self.decoder = self.Decoder(lm)
        self.get_normalized_probs = lm.get_normalized_probs


@pytest.mark.parametrize("kind", [LanguageModelingTask, MemtxLanguageModelingTask])
@pytest.mark.parametrize("model", MODELS)
def test_a_search_continues_prefixes_as_recomputing_does(model, kind):
    """What fairseq-interactive and fairseq-generate do with `--task language_modeling`."""
    lm, task = build(model), kind(Namespace(tokens_per_sample=64), tiny_dictionary())
    texts = [words(7), words(3)]
    sentences = [torch.cat([text, torch.tensor([2])]) for text in texts]
    dataset = task.build_dataset_for_inference(sentences, [len(x) for x in sentences])
    sample = dataset.collater([dataset[0], dataset[1]])
    found, expected = (
        task.inference_step(
            SequenceGenerator([one], tiny_dictionary(), beam_size=3, max_len_b=14), [one], sample
        )
        for one in (lm, Recomputing(lm))
    )
    for hypos, others, text in zip(found, expected, texts, strict=True):
        for hypo, other in zip(hypos, others, strict=True):
            assert hypo["tokens"].tolist() == other["tokens"].tolist()
            torch.testing.assert_close(hypo["score"], other["score"], rtol=1e-5, atol=1e-6)
            assert hypo["tokens"][: len(text)].tolist() == text.tolist()
    assert max(len(hypo["tokens"]) for hypo in found[0]) > 8


def test_the_number_of_rows_must_be_given():
    with pytest.raises(UserError, match="--batch-size is not given"):
        task_of(4).get_batch_iterator(task_of(4)._batches((words(16), None), 1, 1, 0))
    with pytest.raises(UserError, match="--context-window has to be 0"):
        task_of(4).eval_lm_dataloader(
            task_of(4)._batches((words(9), None), 1, 1, 0), context_window=3
        )


@pytest.mark.parametrize("option", ["character_embeddings", "adaptive_input"])
def test_embeddings_that_are_not_supported_are_refused(option):
    with pytest.raises(UserError, match=f"--{option.replace('_', '-')} cannot be used"):
        build("feedback", **{option: True})


def fairseq(command: str, *flags: object, text: str = "") -> str:
    done = run(command, [str(flag) for flag in flags], text)
    assert done.refused is None, done.refused
    return done.out + done.log


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A Compressive model of the alphabet, data and checkpoint, by fairseq's commands."""
    folder = tmp_path_factory.mktemp("alphabet")
    for split in ("train", "valid"):
        lines = ["a b c d e f g h i j k l m n o p"] * 20
        (folder / split).write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = ["--trainpref", folder / "train", "--validpref", folder / "valid"]
    fairseq("preprocess", "--only-source", *text, "--destdir", folder / "bin")
    flags = "--arch memtx_compressive_lm --decoder-layers 1 --decoder-embed-dim 32 --lr 0.01"
    flags += " --decoder-ffn-embed-dim 32 --decoder-attention-heads 2 --optimizer adam"
    flags += " --memtx-segment-len 4 --memtx-mem-len 4 --memtx-cmem-len 4 --batch-size 4"
    flags += " --decoder-input-dim 32 --decoder-output-dim 32 --max-epoch 2 --dropout 0"
    flags += " --memtx-compression-rate 2 --criterion memtx_compression"
    save = ["--save-dir", folder / "save", "--no-epoch-checkpoints"]
    out = fairseq("train", *common(folder), *flags.split(), *save)
    assert "compression_loss" in out
    return folder


def common(folder: Path, task: str = "memtx_language_modeling") -> list[object]:
    data = [folder / "bin", "--user-dir", "fairseq_memtx", "--task", task, "--num-workers", 0]
    return [*data, "--tokens-per-sample", 8, "--cpu", "--no-progress-bar"]


def checkpoint(folder: Path) -> list[object]:
    return ["--path", folder / "save" / "checkpoint_last.pt"]


def test_fairseq_trains_and_evaluates_a_language_model_that_carries_memory(trained):
    override = "{'memtx_mem_len': 16, 'memtx_cmem_len': 8}"
    scored = fairseq(
        "eval-lm", *common(trained), *checkpoint(trained), "--gen-subset", "valid",
        "--model-overrides", override,
    )  # fmt: skip
    (line,) = [line for line in scored.split("\n") if "Loss (base 2):" in line]
    bits = float(line.split("Loss (base 2): ")[1].split(",")[0])
    assert 0.0 < bits < math.log2(20)


@pytest.mark.parametrize("task", ["language_modeling", "memtx_language_modeling"])
def test_fairseq_continues_a_text(trained, task):
    search = ["--beam", 2, "--max-len-b", 12]
    where = [*common(trained, task), *checkpoint(trained), *search]
    found = fairseq("interactive", *where, text="a b c d e f\ng h\n")
    lines = [line.split("\t") for line in found.split("\n") if line.startswith("H-")]
    texts = {label: text for label, _, text in lines}
    for label, start in (("H-0", "a b c d e f "), ("H-1", "g h ")):
        assert texts[label].startswith(start)


def test_fairseq_generates_from_the_words_of_a_test_set(trained):
    where = [*common(trained, "language_modeling"), *checkpoint(trained)]
    how = ["--sample-break-mode", "eos", "--prefix-size", 5, "--beam", 2, "--max-len-b", 12]
    how += ["--model-overrides", "{'max_target_positions': 64}"]
    found = fairseq("generate", *where, "--gen-subset", "valid", "--batch-size", 5, *how)
    lines = [line.split("\t")[2] for line in found.split("\n") if line.startswith("H-")]
    assert len(lines) == 20 and all(line.startswith("a b c d e") for line in lines)
