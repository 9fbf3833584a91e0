"""Documents in training: what reaches a sentence, what does not, and trainings that are resumed."""

import copy
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder
from torch import Tensor

from fairseq_memtx.config import DocumentOptions
from fairseq_memtx.generation.documents import DocumentSearch
from fairseq_memtx.generation.generator import FastGenerator
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.lane_memory import LaneMemories
from fairseq_memtx.tasks.document_translation import Unrolled
from tests.choosing import some
from tests.fairseq_memtx.document_training import (
    MODELS,
    TINY,
    VALID,
    batches_of,
    every_model,
    make_documents,
    run_training,
    run_two_ranks,
    task_and_model,
)
from tests.fairseq_memtx.tiny_training import assert_equal, load, write_dictionary, write_docids

EXACT = {"rtol": 1e-9, "atol": 1e-11}
SENTENCES = {"task": "memtx_translation", "tiny": TINY + " --batch-size 3"}
SAVING = "--max-epoch 2 --save-interval-updates 4 --no-last-checkpoints --disable-validation"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_documents(tmp_path_factory.mktemp("documents"))


def read(task, model, batches, memories: LaneMemories | None = None) -> dict[int, Tensor]:
    """The logits `(T, V)` of each sentence, by its number; memories are empty at first."""
    task._memories["valid"] = LaneMemories() if memories is None else memories
    return _read(task, model, batches, "valid")


def read_alone(task, model, batches) -> dict[int, Tensor]:
    """The same, each sentence without any memory."""
    return _read(task, model, batches, None)


@torch.no_grad()
def _read(task, model, batches, name: str | None) -> dict[int, Tensor]:
    found = {}
    for batch in batches:
        batch = task._with_memory(batch, name)
        logits, extra = model(**batch["net_input"])
        assert "memory" not in extra
        lengths = batch["target"].ne(task.target_dictionary.pad()).sum(dim=1)
        for number, row, length in zip(batch["id"].tolist(), logits, lengths, strict=True):
            found[number] = row[:length]
    return found


def firsts() -> set[int]:
    """The numbers of the sentences with which documents begin."""
    return {sum(VALID[:number]) for number in range(len(VALID))}


@every_model
def test_lanes_are_the_documents_one_by_one(name, data) -> None:
    task, model = task_and_model(data, name)
    together = read(task, model, batches_of(task))
    task, _ = task_and_model(data, name, "--memtx-lanes", "1")
    batches = batches_of(task, max_sentences=1)
    assert [batch["id"].tolist() for batch in batches] == [[n] for n in range(sum(VALID))]
    alone = read(task, model, batches)
    assert together.keys() == alone.keys() == set(range(sum(VALID)))
    for number, logits in alone.items():
        torch.testing.assert_close(together[number], logits, **EXACT)


@every_model
def test_memory_is_empty_where_a_document_begins_and_nowhere_else(name, data) -> None:
    task, model = task_and_model(data, name)
    batches = batches_of(task)
    carried, without = read(task, model, batches), read_alone(task, model, batches)
    for number, logits in carried.items():
        assert torch.allclose(logits, without[number], **EXACT) == (number in firsts())


@every_model
def test_other_words_in_one_document_change_nothing_in_another(name, data) -> None:
    _check_other_words(name, "prev_output_tokens", data)


@pytest.mark.parametrize("name", [name for name in MODELS if "encoder" in name])
def test_other_words_in_a_source_change_nothing_in_another_document(name, data) -> None:
    _check_other_words(name, "src_tokens", data)


def _check_other_words(name: str, side: str, data: Path) -> None:
    task, model = task_and_model(data, name)
    batches = batches_of(task)
    changed, first, document = [], sum(VALID[:2]), range(sum(VALID[:2]), sum(VALID[:3]))
    for batch in batches:
        words = batch["net_input"][side].clone()
        place = 1 if side == "prev_output_tokens" else -2  # a source's padding is on the left
        for number, row in zip(batch["id"].tolist(), words, strict=True):
            if number == first:
                row[place] = 4 if row[place] != 4 else 5
        changed.append({**batch, "net_input": {**batch["net_input"], side: words}})
    before, after = read(task, model, batches), read(task, model, changed)
    same = {number for number, logits in before.items() if torch.equal(logits, after[number])}
    assert same >= before.keys() - set(document)
    assert not same & {first, first + 1}  # what lies further back may be out of reach


@every_model
def test_a_pass_over_the_text_leaves_the_next_one_as_it_was(name, data) -> None:
    """A pass that begins with what the one before has left reads nothing of it."""
    task, model = task_and_model(data, name)
    batches = batches_of(task)
    first = read(task, model, batches)
    second = read(task, model, batches, task._memories["valid"])
    assert all(torch.equal(logits, second[number]) for number, logits in first.items())


@pytest.mark.parametrize("name", ["feedback", "compressive", "encoder"])
def test_gradients_end_with_the_sentence(name, data) -> None:
    task, model = task_and_model(data, name, "--memtx-lanes", "1")
    one, other = batches_of(task, max_sentences=1)[:2]
    memories = LaneMemories()
    task._memories["train"] = memories
    model(**task._with_memory(one, "train")["net_input"])
    logits, _ = model(**task._with_memory(other, "train")["net_input"])
    logits.sum().backward()
    grad = model.encoder.embed_tokens.weight.grad
    words = set(other["net_input"]["src_tokens"].unique().tolist())
    only_before = set(one["net_input"]["src_tokens"].unique().tolist()) - words
    assert only_before
    assert grad[sorted(only_before)].abs().max() == 0.0
    assert grad[sorted(words)].abs().max() > 0.0


class Likelihood:
    """A criterion in the model's own precision."""

    def __init__(self, padding: int):
        self.padding = padding

    def __call__(self, model, sample):
        logits, _ = model(**sample["net_input"])
        target = sample["target"]
        found = -logits.log_softmax(dim=-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
        loss = found[target.ne(self.padding)].sum()
        return loss, sample["ntokens"], {"loss": loss.data, "ntokens": sample["ntokens"]}


def unrolled_batches(task, unroll: int) -> list:
    task._unroll = lambda split: unroll
    return batches_of(task)


@every_model
def test_unrolled_losses_are_those_of_single_sentences(name, data) -> None:
    """The memory before a sentence is the same, however many are in a batch."""
    task, model = task_and_model(data, name)
    criterion, found = Likelihood(task.target_dictionary.pad()), []
    for unroll in (1, 3):
        memories = LaneMemories()
        told = [Unrolled(criterion, memories)(model, x) for x in unrolled_batches(task, unroll)]
        losses, sizes, logs = zip(*told, strict=True)
        assert sum(sizes) == sum(log["ntokens"] for log in logs)
        found.append((sum(losses), sum(sizes), sum(log["loss"] for log in logs)))
    torch.testing.assert_close(found[0], found[1], **EXACT)


@every_model
def test_the_gradient_is_that_of_the_unrolled_sentences(name, data) -> None:
    """By finite differences, the memory before the batch being given."""
    bptt = ["--memtx-compression-loss", "bptt"] if name == "compressive" else []
    task, model = task_and_model(data, name, *bptt)
    first, second, *_ = unrolled_batches(task, 3)
    assert len(second["following"]) == 2
    criterion, before = Likelihood(task.target_dictionary.pad()), LaneMemories()
    Unrolled(criterion, before)(model, first)

    def loss() -> Tensor:
        return Unrolled(criterion, copy.deepcopy(before))(model, second)[0]

    parameters = list(model.parameters())
    grads = torch.autograd.grad(loss(), parameters, allow_unused=True)
    torch.manual_seed(1)
    steps = [1e-6 * torch.randn_like(p) for p in parameters]
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.add_(sign * step)
            ends.append(loss())
            for parameter, step in zip(parameters, steps, strict=True):
                parameter.sub_(sign * step)
    products = [(g * step).sum() for g, step in zip(grads, steps, strict=True) if g is not None]
    expected = torch.stack(products).sum()
    torch.testing.assert_close((ends[0] - ends[1]) / 2, expected, rtol=1e-6, atol=1e-12)


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a whole training with these flags, made once."""

    @functools.cache
    def train(flags: str, run: Callable[..., None] = run_training) -> Path:
        folder = tmp_path_factory.mktemp("whole") / "save"
        run(data, folder, *SAVING.split(), *flags.split())
        return folder

    return train


def resumed(data: Path, checkpoint: Path, folder: Path, flags: str, run=run_training) -> Path:
    run(data, folder, "--restore-file", str(checkpoint), *SAVING.split(), *flags.split())
    return folder


def assert_same_end(one: Path, other: Path) -> None:
    left, right = (load(folder / "checkpoint2.pt") for folder in (one, other))
    for part in ("model", "last_optimizer_state"):
        assert_equal(left[part], right[part])


def at_update(folder: Path, updates: int) -> Path:
    (path,) = folder.glob(f"checkpoint_*_{updates}.pt")
    return path


@pytest.mark.parametrize(
    "name, more",
    [
        pytest.param("feedback", "", marks=pytest.mark.slow),
        pytest.param("transformer-xl", "--update-freq 2", marks=pytest.mark.slow),
        ("compressive", ""),
        ("encoder", "--update-freq 2 --memtx-unroll 2 --batch-size 2"),
        pytest.param("encoder", "--checkpoint-activations", marks=pytest.mark.slow),
        pytest.param(
            "encoder", "--encoder-layers 2 --encoder-layerdrop 0.5", marks=pytest.mark.slow
        ),
        pytest.param("feedback, encoder", "", marks=pytest.mark.slow),
        pytest.param("transformer-xl", "--num-workers 2", marks=pytest.mark.slow),
        pytest.param(
            "feedback",
            "--memtx-unroll 2 --batch-size 2 --update-freq 2 --memtx-length-schedule linear"
            " --memtx-length-unit sentences --memtx-length-updates 16",
            marks=pytest.mark.slow,
        ),
        pytest.param("compressive", "--memtx-unroll 3", marks=pytest.mark.slow),
        pytest.param(
            "feedback",
            "--memtx-unroll 2 --batch-size 2 --checkpoint-activations",
            marks=pytest.mark.slow,
        ),
        pytest.param("most-used", "", marks=pytest.mark.slow),
    ],
)
def test_resuming_within_documents_changes_nothing(
    name, more, data, uninterrupted, tmp_path
) -> None:
    flags = f"{MODELS[name]} {more}".strip()
    whole = uninterrupted(flags)
    state = load(at_update(whole, 12))["extra_state"]["train_iterator"]
    (saved,) = state["memtx"]["memories"]
    assert 4 <= len(saved["lanes"]) <= 5
    assert ("source" in saved) == ("encoder" in name)
    again = resumed(data, at_update(whole, 12), tmp_path / "again", flags)
    assert_same_end(whole, again)


@pytest.mark.slow
def test_without_the_memory_it_would_end_elsewhere(data, uninterrupted, tmp_path, caplog) -> None:
    whole = uninterrupted(MODELS["feedback"])
    state = load(at_update(whole, 12))
    del state["extra_state"]["train_iterator"]["memtx"]
    torch.save(state, tmp_path / "older.pt")
    again = resumed(data, tmp_path / "older.pt", tmp_path / "save", MODELS["feedback"])
    with pytest.raises(AssertionError):
        assert_same_end(whole, again)
    with caplog.at_level(logging.WARNING):
        flags = f"{MODELS['feedback']} --memtx-lanes 4"
        resumed(data, at_update(whole, 12), tmp_path / "other", flags)
    assert "goes on with empty memories: lanes, limits of a batch, seed" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, more",
    [("transformer-xl", ""), ("transformer-xl", "--memtx-unroll 2"), ("encoder", "")],
)
def test_two_ranks_resume_exactly(name, more, data, uninterrupted, tmp_path) -> None:
    flags = f"{MODELS[name]} {more}".strip()
    whole = uninterrupted(flags, run_two_ranks)
    memories = load(at_update(whole, 4))["extra_state"]["train_iterator"]["memtx"]["memories"]
    assert len(memories) == 2 and memories[0]["sentences"] != memories[1]["sentences"]
    again = resumed(data, at_update(whole, 4), tmp_path / "save", flags, run_two_ranks)
    assert_same_end(whole, again)


def test_validation_leaves_no_trace_in_training(data, tmp_path) -> None:
    flags = [*MODELS["transformer-xl"].split(), "--max-epoch", "1", "--no-epoch-checkpoints"]
    run_training(data, tmp_path / "plain", *flags, "--disable-validation")
    run_training(data, tmp_path / "validated", *flags, "--validate-interval-updates", "2")
    plain, validated = (load(tmp_path / n / "checkpoint_last.pt") for n in ("plain", "validated"))
    assert_equal(plain["model"], validated["model"])


def test_bleu_in_validation_is_that_of_documents(data, tmp_path, caplog, monkeypatch) -> None:
    found: list[list[int]] = []
    translated = DocumentSearch.translate

    def note(self, net_input, rows, gold=None):
        found.append([row.sentence for row in rows])
        return translated(self, net_input, rows, gold)

    monkeypatch.setattr(DocumentSearch, "translate", note)
    flags = [*MODELS["transformer-xl"].split(), "--max-epoch", "1", "--no-epoch-checkpoints"]
    flags += ["--eval-bleu", "--eval-bleu-args", '{"beam": 2, "max_len_b": 4}', "--no-save"]
    with caplog.at_level(logging.INFO):
        run_training(data, tmp_path, *flags, "--eval-tokenized-bleu", "--log-format", "simple")
    assert sorted(n for batch in found for n in batch) == list(range(sum(VALID)))
    assert "documents are searched by --memtx-generator fast" in caplog.text
    assert "| bleu " in caplog.text


IMPOSSIBLE = [
    ("--arch transformer", "whose memory outlives a sentence: a TransformerModel has no"),
    ("--arch memtx_feedback", "absolute positions begin anew in each sentence"),
    (f"{MODELS['feedback']} --memtx-memory-span 0", "must not depend on the batch"),
    (f"{MODELS['transformer-xl']} --memtx-mem-len 0", "--memtx-mem-len is 0"),
    (
        f"{MODELS['transformer-xl']} --memtx-length-schedule linear",
        "--memtx-length-schedule is linear in subwords: with --task memtx_document_translation",
    ),
    (
        f"{MODELS['transformer-xl']} --memtx-length-schedule linear"
        " --memtx-length-unit sentences --memtx-unroll 3",
        "--memtx-length-schedule in sentences needs --memtx-length-updates",
    ),
    (f"{MODELS['transformer-xl']} --curriculum 1", "--curriculum, which orders batches"),
    (
        f"{MODELS['transformer-xl']} --memtx-lanes -1",
        "--memtx-lanes is -1: it has to be at least 0",
    ),
    (
        f"{MODELS['transformer-xl']} --memtx-unroll 0",
        "--memtx-unroll is 0: it has to be at least 1",
    ),
    (
        f"{MODELS['transformer-xl']} --memtx-encoder-memory -1",
        "--memtx-encoder-memory is -1: it has to be at least 0",
    ),
    (f"{MODELS['encoder']} --encoder-learned-pos", "--encoder-learned-pos cannot be used with"),
    (f"{MODELS['encoder']} --memtx-mem-len 0", "a decoder whose memory outlives a sentence"),
]


@pytest.mark.parametrize("flags, says", some(IMPOSSIBLE, 2))
def test_what_documents_cannot_have_is_refused(flags, says, data, tmp_path) -> None:
    with pytest.raises(UserError, match=says) as refusal:
        run_training(data, tmp_path, *SAVING.split(), *flags.split())
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_it_begins_with_a_model_of_single_sentences(data, tmp_path, caplog) -> None:
    """Which has the same encoder, whose memory stays empty; one without is refused."""
    flags = f"{MODELS['encoder']} --max-update 3 --no-epoch-checkpoints --disable-validation"
    with caplog.at_level(logging.INFO):
        run_training(data, tmp_path / "one", *flags.split(), **SENTENCES)
    assert "the memory of --memtx-encoder-memory stays empty: only --task" in caplog.text
    caplog.clear()
    start = ["--finetune-from-model", str(tmp_path / "one" / "checkpoint_last.pt")]
    with caplog.at_level(logging.INFO):
        run_training(data, tmp_path / "two", *flags.split(), *start)
    assert "loading pretrained model from" in caplog.text
    assert "stays empty" not in caplog.text
    without = flags.replace("--memtx-encoder-memory 20", "")
    with pytest.raises(UserError, match="does not fit the model that was asked for") as refusal:
        run_training(data, tmp_path / "three", *without.split(), *start)
    assert "\n" not in str(refusal.value)


def test_lines_without_a_document_are_sentences(data, caplog) -> None:
    task, model = task_and_model(data, "transformer-xl")
    generator = FastGenerator([model], task.target_dictionary, beam_size=2, max_len_b=3)
    sources = [torch.tensor([5, 6, 2]), torch.tensor([7, 2])]
    lines = task.build_dataset_for_inference(sources, [3, 2])
    batches = task.get_batch_iterator(lines, max_sentences=2).next_epoch_itr(shuffle=False)
    with caplog.at_level(logging.INFO):
        found = [task.inference_step(generator, [model], batch) for batch in batches]
    assert sum(map(len, found)) == 2
    assert caplog.text.count("lines are translated as sentences, without memory") == 1


def test_a_batch_without_a_limit_is_refused(data) -> None:
    task, _ = task_and_model(data, "transformer-xl")
    with pytest.raises(UserError, match="needs --batch-size or --max-tokens"):
        batches_of(task, max_sentences=None)


def test_sentences_too_long_for_the_model_are_left_out_of_their_document(data, tmp_path) -> None:
    task, model = task_and_model(data, "transformer-xl")
    lengths = task.dataset("valid").sizes.max(axis=1)
    most = int(sorted(lengths)[-3])
    batches = batches_of(task, max_positions=(most, most), ignore_invalid_inputs=True)
    found = read(task, model, batches)
    assert found.keys() == {n for n, length in enumerate(lengths) if length <= most}
    rows = {row[1]: row[2] for batch in batches for row in batch["lanes"]}
    assert all(before == -1 or before in found for before in rows.values())


def test_data_without_ids_is_sentences(tmp_path) -> None:
    data = make_documents(tmp_path / "data")
    (data / "valid.docid").unlink()
    task, model = task_and_model(data, "transformer-xl")
    batches = batches_of(task)
    carried, without = read(task, model, batches), read_alone(task, model, batches)
    assert all(torch.equal(logits, without[number]) for number, logits in carried.items())
    write_docids(data, "valid", VALID[:-1])
    with pytest.raises(
        UserError, match=r"valid.docid` has \d+ lines instead of one for each of the 19 pairs"
    ):
        task.load_dataset("valid")


@pytest.mark.slow
def test_fairseq_generate_and_validate_read_documents(
    data, uninterrupted, capsys, caplog, monkeypatch
) -> None:
    from fairseq import options
    from fairseq_cli import generate, validate

    from tests.fairseq_memtx.native.compare import Watched

    checkpoint = at_update(uninterrupted(MODELS["transformer-xl"]), 12)
    found, watched = [], Watched()
    monkeypatch.setattr("fairseq_memtx.generation.search.NativeSearches", lambda: watched)
    for lanes, native in (("1", "on"), ("5", "on"), ("5", "off")):
        flags = [str(data), "--task", "memtx_document_translation", "--path", str(checkpoint)]
        flags += f"--gen-subset valid --beam 2 --batch-size 3 --memtx-lanes {lanes} --cpu".split()
        flags += ["--memtx-native", native]
        before = watched.num_found
        generate.main(options.parse_args_and_arch(options.get_generation_parser(), flags))
        assert (watched.num_found > before) == (native == "on"), watched.reasons
        told = capsys.readouterr().out.split("\n")
        lines = sorted(line.split("\t") for line in told if line.startswith("D-"))
        found.append({name: (text, float(score)) for name, score, text in lines})
    assert len(found[0]) == sum(VALID)
    # Products of other sizes may round otherwise.
    for name, (text, score) in found[0].items():
        for other in found[1:]:
            assert other[name] == (text, pytest.approx(score, rel=1e-5))
    parser = options.get_validation_parser()
    flags = [str(data), "--task", "memtx_document_translation", "--path", str(checkpoint)]
    args = options.parse_args_and_arch(parser, [*flags, "--batch-size", "3", "--cpu"])
    with caplog.at_level(logging.INFO):
        validate.main(args)
    assert "5 documents of 19 sentences" in caplog.text


def write_riddles(folder: Path, told_by: str = "both") -> Path:
    """Documents of two sentences: the second has the same source in all, and as its translation
    what the first one's tells or, where that tells nothing, the first source.
    """
    folder.mkdir()
    dictionary, random = write_dictionary(folder), np.random.RandomState(0)
    for split, count in (("train", 128), ("valid", 24)):
        chosen = 4 + random.randint(4, size=count)
        for language, texts in (
            ("en", [[[word], [15]] for word in chosen]),
            ("de", [[[word if told_by == "both" else 14], [word + 4]] for word in chosen]),
        ):
            prefix = str(folder / f"{split}.en-de.{language}")
            builder = MMapIndexedDatasetBuilder(prefix + ".bin", dtype=np.int32)
            for words in (words for document in texts for words in document):
                builder.add_item(torch.tensor([*words, dictionary.eos()], dtype=torch.int32))
            builder.finalize(prefix + ".idx")
        write_docids(folder, split, [2] * count)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("feedback", marks=pytest.mark.slow),
        pytest.param("transformer-xl", marks=pytest.mark.slow),
        pytest.param("compressive", marks=pytest.mark.slow),
    ],
)
def test_what_only_the_sentence_before_tells_is_learnt(name, tmp_path) -> None:
    data = write_riddles(tmp_path / "data")
    right = share_solved(data, tmp_path, name)
    assert right[-1] == 1.0
    assert right[0] < 0.6


@pytest.mark.slow
def test_what_only_the_source_before_tells_is_learnt_by_an_encoder_that_sees_it(tmp_path) -> None:
    """One decoder layer remembers the words of translations alone."""
    data = write_riddles(tmp_path / "data", "source")
    right = share_solved(data, tmp_path / "with", "encoder")
    assert right[-1] == 1.0
    assert right[0] < 0.6
    assert share_solved(data, tmp_path / "without", "transformer-xl")[-1] < 0.6


def share_solved(data: Path, folder: Path, name: str) -> dict[int, float]:
    """Of the second sentences those that are right, by the context, after a training."""
    flags = f"{MODELS[name]} --dropout 0 --batch-size 16 --memtx-lanes 32 --max-update 200"
    flags += " --decoder-embed-dim 16 --encoder-embed-dim 16 --no-epoch-checkpoints"
    run_training(data, folder / "save", *flags.split(), "--disable-validation")
    task, model = task_and_model(
        data, name, "--decoder-embed-dim", "16", "--encoder-embed-dim", "16"
    )
    model.load_state_dict(load(folder / "save" / "checkpoint_last.pt")["model"])
    generator = FastGenerator([model], task.target_dictionary, beam_size=2, max_len_b=3)
    right = {}
    for context in (-1, 0):
        task.document_options, task._search = DocumentOptions(context=context), None
        found = {}
        for batch in batches_of(task):
            hypotheses = task.inference_step(generator, [model], batch)
            found |= zip(batch["id"].tolist(), hypotheses, strict=True)
        seconds = [number for number in found if number % 2 == 1]
        right[context] = sum(
            found[number][0]["tokens"].tolist() == task.dataset("valid")[number]["target"].tolist()
            for number in seconds
        ) / len(seconds)
    return right
