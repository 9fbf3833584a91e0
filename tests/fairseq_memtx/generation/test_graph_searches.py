"""The device's search against fairseq's generator: on the CPU with recorded steps, and on a GPU.

What a GPU adds is the capture alone (`pytest -m gpu`); `engine.gpu.test_cuda_graphs` has its
rules.
"""

import gc
import itertools
import logging
import weakref

import pytest
import torch
from fairseq import options
from fairseq.dataclass.configs import GenerationConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.sequence_generator import SequenceGenerator
from fairseq_cli import generate as fairseq_generate
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fairseq_memtx.decoding.fused import FusedDecoder
from fairseq_memtx.decoding.gpu import device_search, device_state, device_step
from fairseq_memtx.decoding.gpu.device_state import Form, first_state, place
from fairseq_memtx.decoding.gpu.device_step import DeviceStep
from fairseq_memtx.decoding.gpu.static_cache import StaticCache
from fairseq_memtx.decoding.search_options import SearchOptions
from fairseq_memtx.generation.generator import FastGenerator, FastGeneratorWithAlignment
from fairseq_memtx.generation.graph_searches import GraphSearches
from tests.choosing import some
from tests.fairseq_memtx.generation.comparisons import (
    BATCHES,
    MODELS,
    OF_FEEDBACK,
    SETTINGS,
    WAYS,
    both,
)
from tests.fairseq_memtx.generation.step_recorder import StepRecorder
from tests.fairseq_memtx.searches import DICTIONARY, generate, same_hypotheses, sample, task_of
from tests.fairseq_memtx.tiny import build_model
from tests.fairseq_memtx.tiny_training import make_data, run_training
from tests.gpu import gpu

# What only `fast` knows.
ELSEWHERE = {"source length", "no repeated pair"}
HERE = {name: way for name, way in WAYS.items() if name not in ELSEWHERE}
HERE["long prefix"] = {
    "call": {"prefix_tokens": torch.tensor([[6, 7, 8, 9, 6, 7, 2], [8, 9, 8, 9, 8, 9, 4]] * 2)},
    "min_len": 3,
}
FUSED = ("transformer", "feedback")


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    """Else a few words would never need more room, nor a few sentences move together."""
    monkeypatch.setattr(device_state, "LEAST_STEP", {"B": 1, "T": 4, "S": 3})
    monkeypatch.setattr(device_search, "ASKS_EVERY", 3)


class Searches(GraphSearches):
    """On the CPU, with the recorder at hand."""

    def __init__(self, recorder=None):
        self.recorder = made = recorder or StepRecorder()
        super().__init__(lambda device: made, "cpu")


def final(architecture="memtx_feedback", **settings):
    """A model as fairseq's commands make it for inference."""
    model = build_model(architecture, **settings)
    model.make_generation_fast_(need_attn=True)
    return model


def without_attention(found):
    for hypothesis in itertools.chain.from_iterable(found):
        hypothesis["attention"] = torch.empty(0)
    return found


def check(model, *batches, searches=None, call=None, **how) -> Searches:
    """One generator finds what fairseq's finds in batch after batch, and by replays."""
    how, call = {"beam_size": 3, "max_len_b": 6, **how}, call or {}
    searches = searches or Searches()
    generator = FastGenerator([model], DICTIONARY, graphs=searches, **how)
    for lengths in batches or BATCHES:
        batch = sample(lengths)
        want = SequenceGenerator([model], DICTIONARY, **how).generate([model], batch, **call)
        got = generator.generate([model], batch, **call)
        same_hypotheses(got, without_attention(want))
    assert searches.recorder.replays > 0 and not searches._told
    return searches


def check_elsewhere(models, searches, **how) -> None:
    """Searching step by step finds the same too."""
    stock = FastGenerator.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FastGenerator, "__init__", lambda *a, **k: stock(*a, **{"graphs": searches, **k})
        )
        same_hypotheses(*both(models, sample(BATCHES[0]), **how))


# --- The same search ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "way"), some(itertools.product(FUSED, HERE), 3))
def test_it_finds_what_fairseqs_generator_finds(name, way):
    for number, beam_size in enumerate((1, 2, 5)):
        model = final(
            MODELS[name][0],
            seed=number + 1,
            decoder_layers=1 + number % 2,
            decoder_normalize_before=bool(number % 2),
        )
        check(model, *BATCHES[: 1 + number // 2], beam_size=beam_size, **HERE[way])


@pytest.mark.slow
@pytest.mark.parametrize("name", FUSED)
def test_it_finds_what_fairseqs_generator_finds_with_many_models(name):
    for seed, depth in itertools.product(range(10, 18), (1, 2)):
        model = final(
            MODELS[name][0], seed=seed, decoder_layers=depth, decoder_normalize_before=seed % 2 == 1
        )
        for way, beam_size in itertools.product(HERE.values(), (1, 2, 5)):
            check(model, BATCHES[seed % 2], beam_size=beam_size, **way)


@pytest.mark.parametrize("architecture", ["transformer", "memtx_feedback"])
@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"adaptive softmax"}))
def test_every_kind_of_decoder_is_searched_alike(architecture, name):
    check(final(architecture, **SETTINGS[name]), temperature=1.2)


@pytest.mark.parametrize("name", ["per-layer", "last layer's memory"])
def test_every_kind_of_memory_is_searched_alike(name):
    check(final(**OF_FEEDBACK[name]), max_len_b=12)


def test_a_beam_nearly_as_large_as_the_vocabulary():
    """The first step has fewer continuations than candidates."""
    for architecture in ("transformer", "memtx_feedback"):
        check(final(architecture, decoder_layers=1), BATCHES[0], beam_size=11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("architecture", ["transformer", "memtx_feedback"])
def test_lower_precisions_find_hypotheses_of_nearly_the_scores(architecture, dtype, monkeypatch):
    monkeypatch.setattr("fairseq_memtx.compute.onednn.packing_works", lambda: False)
    model, batch = final(architecture, decoder_layers=1).to(dtype), sample()
    searches = Searches()
    got = generate([model], batch, FastGenerator, graphs=searches, beam_size=2)
    want = generate([model], batch, SequenceGenerator, beam_size=2)
    assert searches.recorder.replays > 0
    for a, b in zip(got, want, strict=True):
        assert a[0]["tokens"][-1] == DICTIONARY.eos()
        torch.testing.assert_close(a[0]["score"], b[0]["score"], rtol=0, atol=0.1)


# --- Recordings ---------------------------------------------------------------------------------


def test_searches_move_together_and_to_more_room(monkeypatch):
    """Six sentences of which some end soon; else nothing would be said about either."""
    sizes, stock = [], device_search.DeviceDecoder.place_state

    def step(self, given, form):
        sizes.append((form.B, form.T))
        return stock(self, given, form)

    monkeypatch.setattr(device_search.DeviceDecoder, "place_state", step)
    check(final(seed=3, decoder_layers=1), [4, 2, 5, 3, 4, 1], max_len_b=20)
    assert sizes == [(6, 4), (2, 4), (2, 8), (1, 8), (1, 12), (1, 16), (1, 20), (1, 24)]


def test_recordings_serve_other_batches_of_similar_sizes():
    """Three steps each, the first of all rehearsed and the second recorded."""
    batches = [4, 2, 5, 3], [6, 2, 4, 5], [5, 5, 5, 4]
    searches = check(final(decoder_layers=1), *batches, beam_size=2, max_len_b=2, min_len=2)
    recorder = searches.recorder
    assert (recorder.rehearsals, recorder.recordings, recorder.replays) == (1, 1, 8)
    assert len(searches.decoder.graphs.recordings) == 1


def test_all_forms_share_one_memory_that_grows(monkeypatch):
    """Ever smaller batches are searched in what the first one needed."""
    made, stock = [], device_search.Arena
    monkeypatch.setattr(device_search, "Arena", lambda *a: made.append(stock(*a)) or made[-1])
    how = {"beam_size": 2, "max_len_b": 14, "min_len": 10}
    model = final(decoder_layers=1)
    check(model, [4, 2, 5, 3], **how)
    most = len(made)  # it grew with the positions
    smaller = ([5, 4, 3, 2], [2, 2], [3], [5, 5, 1])
    made.clear()
    searches = check(model, [4, 2, 5, 3], *smaller, **how)
    assert len(made) == most > 1
    assert len(searches.decoder.graphs.recordings) > 6
    check(model, [2], [4, 2, 5, 3], [2], searches=searches, **how)
    assert [arena.num_bytes for arena in made[most:]] == sorted(a.num_bytes for a in made[most:])


def test_nothing_outlives_the_generator():
    searches = Searches()
    generator = FastGenerator([final()], DICTIONARY, beam_size=2, graphs=searches, max_len_b=6)
    generator.generate([], sample())
    decoder, arena = weakref.ref(searches.decoder), weakref.ref(searches.decoder._arena)
    gc.disable()
    try:
        del generator, searches
        assert decoder() is None and arena() is None
    finally:
        gc.enable()


def test_weights_that_change_are_recorded_anew():
    model, searches, batch = final(), Searches(), sample()
    how = {"beam_size": 2, "max_len_b": 6}
    generator = FastGenerator([model], DICTIONARY, graphs=searches, **how)
    for _ in range(2):
        want = SequenceGenerator([model], DICTIONARY, **how).generate([model], batch)
        same_hypotheses(generator.generate([model], batch), without_attention(want))
        before = searches.decoder
        generator.generate([model], batch)
        assert searches.decoder is before
        with torch.no_grad():
            model.decoder.layers[0].fc1.weight.add_(0.5)


class Failing(StepRecorder):
    """Cannot record a second time."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def record(self, work):
        if self.recordings == 1:
            raise self.error
        return super().record(work)


def test_a_recording_that_fails_leaves_the_search_as_it_was(caplog):
    searches = Searches(Failing(RuntimeError("operation not permitted")))
    check(final(decoder_layers=1), searches=searches, max_len_b=14, min_len=10)
    (line,) = (x for x in caplog.records if x.levelno == logging.WARNING)
    assert "no step will be replayed" in line.getMessage() and "permitted" in line.getMessage()
    assert not searches.decoder.graphs.recordings


def test_without_memory_for_a_batch_it_is_searched_step_by_step(caplog, monkeypatch):
    def refuse(*args):
        raise torch.OutOfMemoryError("too little")

    monkeypatch.setattr(device_search, "Arena", refuse)
    searches = Searches()
    model = final()
    for _ in range(2):
        check_elsewhere([model], searches)
    assert searches.decoder is None
    (line,) = (x for x in caplog.records if x.levelno == logging.WARNING)
    assert line.getMessage().endswith("the GPU's memory is too small for a batch")


# --- What it cannot do --------------------------------------------------------------------------

SEGMENTS, COMPRESSED = MODELS["transformer-xl"][1], MODELS["compressive"][1]
REASONS = {
    "there are several models": lambda: ([final(), final(seed=2)], {}),
    "a compressed memory has no fused form": lambda: (
        [final("memtx_compressive", **COMPRESSED)], {},
    ),
    "the decoder works in segments": lambda: ([final("memtx_transformer_xl", **SEGMENTS)], {}),
    "its memory has a span": lambda: ([final(memtx_memory_span=2)], {}),
    "the decoder has an adaptive softmax": lambda: (
        [final(**SETTINGS["adaptive softmax"]).float()], {},
    ),
    "the model is in training": lambda: ([build_model()], {}),
    "--no-repeat-ngram-size is used": lambda: ([final()], WAYS["no repeated pair"]),
    "--match-source-len is used": lambda: ([final()], WAYS["source length"]),
    "--print-alignment is used": lambda: ([final()], {"align": "hard"}),
}  # fmt: skip


@pytest.mark.parametrize("reason", REASONS)
def test_what_it_cannot_do_is_done_step_by_step_and_said_once(reason, caplog):
    models, how = REASONS[reason]()
    searches = Searches()
    for _ in range(2):
        check_elsewhere(models, searches, **how)
    assert searches.decoder is None
    (line,) = (x for x in caplog.records if x.levelno == logging.WARNING)
    assert line.getMessage().startswith("searching step by step, as the generator `fast` does: ")
    assert reason in line.getMessage()


def test_without_a_gpu_it_is_done_step_by_step(caplog):
    check_elsewhere([final()], GraphSearches())
    (line,) = (x for x in caplog.records if x.levelno == logging.WARNING)
    assert line.getMessage().endswith("there is no GPU")


def test_a_diverged_model_stops_the_search():
    model = final()
    with torch.no_grad():
        model.decoder.layers[0].fc2.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="NaN"):
        generate([model], sample(), FastGenerator, graphs=Searches())


# --- Negative controls --------------------------------------------------------------------------


def test_the_comparison_notices_a_past_that_does_not_follow_the_beams(monkeypatch):
    monkeypatch.setattr(StaticCache, "move", lambda self, parents: None)
    with pytest.raises(AssertionError):
        check(final(), max_len_b=12)


def test_a_question_to_the_data_would_be_noticed(monkeypatch):
    stock = DeviceStep._continuations
    monkeypatch.setattr(
        DeviceStep, "_continuations", lambda self: (self.state.room.sum().item(), stock(self))[1]
    )
    with pytest.raises(AssertionError, match=r"_local_scalar_dense.* cannot be recorded"):
        check(final())


# --- The device ---------------------------------------------------------------------------------


def without_data(x):
    """All tensors of a decoder that is prepared for steps, on a device without data."""
    if isinstance(x, Tensor):
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
    if isinstance(x, nn.Module):
        for part in x.modules():
            for held in (part._parameters, part._buffers):
                held.update({name: without_data(value) for name, value in held.items()})
    elif isinstance(x, list):
        x[:] = map(without_data, x)
    elif type(x).__module__.startswith("fairseq_memtx.decoding"):
        for name, value in vars(x).items():
            setattr(x, name, without_data(value))
    return x


@torch.no_grad()
def run_without_data(model, forces: bool) -> None:
    rules = SearchOptions(beam_size=2, max_len=0, min_len=1, pad=1, unk=3, eos=2, bos=0)
    weights = FusedDecoder(model.decoder)
    source = weights.look_at(torch.randn(5, 3, 12, dtype=torch.float64), None)
    state = first_state(source, rules, None, weights.kinds)
    weights.positions(8)  # made before any recording
    form = Form(B=4, T=8, S=6, forces=forces, rules=rules)
    state = place(state, form, lambda shape, like: like.new_empty(shape))
    with FakeTensorMode():
        without_data(weights)
        step = DeviceStep(weights, 0.7, type(state)(*map(without_data, state)), form)
        step.advance()
        assert {x.device.type for x in step.state} == {"meta"}


@pytest.mark.parametrize("forces", [False, True])
@pytest.mark.parametrize("architecture", ["transformer", "memtx_feedback"])
def test_a_step_never_leaves_the_device(architecture, forces):
    """On tensors without data: nothing is asked of them, and none is made on the host."""
    run_without_data(final(architecture), forces)


def test_a_host_tensor_in_a_step_would_be_noticed(monkeypatch):
    monkeypatch.setattr(
        device_step,
        "rule_out",
        lambda log_probs, *told: log_probs + torch.zeros(log_probs.size(-1)),
    )
    with pytest.raises(RuntimeError):
        run_without_data(final(), forces=False)


# --- By flags -----------------------------------------------------------------------------------


def test_the_flag_hands_graphs_to_the_generator(tmp_path):
    task = task_of(tmp_path, generator="cuda-graphs")
    assert isinstance(task.build_generator([final()], GenerationConfig()).graphs, GraphSearches)
    aligned = task.build_generator([final()], GenerationConfig(print_alignment="hard"))
    assert isinstance(aligned, FastGeneratorWithAlignment) and aligned.graphs is not None
    plain = task_of(tmp_path, generator="fast")
    assert plain.build_generator([final()], GenerationConfig()).graphs is None


def run_generate(data, checkpoint, *flags: str) -> None:
    """`fairseq-generate` in this process."""
    words = f"{data} --path {checkpoint} --task memtx_translation --gen-subset valid --beam 2"
    words = [*words.split(), "--max-len-b", "9", "--num-workers", "0", "--batch-size", "5", *flags]
    args = options.parse_args_and_arch(options.get_generation_parser(), words)
    fairseq_generate.main(convert_namespace_to_omegaconf(args))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A data folder and a checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    data = make_data(folder / "data", train_pairs=20)
    run_training(data, folder / "run", "--max-update", "2", "--disable-validation")
    return data, folder / "run" / "checkpoint_last.pt"


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_fairseq_generate_searches_in_the_precision_that_is_asked_for(
    precision, trained, monkeypatch, capsys
):
    seen, stock = set(), GraphSearches.find

    def find(self, prepared, *args):
        seen.update(x.dtype for x in prepared[0].model.parameters())
        return stock(self, prepared, *args)

    monkeypatch.setattr(GraphSearches, "find", find)
    flags = ["--bf16"] if precision == torch.bfloat16 else []
    run_generate(*trained, "--memtx-generator", "cuda-graphs", "--cpu", *flags)
    assert seen == {precision}
    assert capsys.readouterr().out.count("\nH-") == 12


# --- On a GPU -----------------------------------------------------------------------------------


class OnGpu:
    """Our generator with and without graphs, on a GPU."""

    def __init__(self, model, **how):
        how = {"beam_size": 3, "max_len_b": 6, **how}
        self.call = {name: x.cuda() for name, x in how.pop("call", {}).items()}
        self.model, self.searches = model.cuda(), GraphSearches()
        self.device, self.host = (
            FastGenerator([self.model], DICTIONARY, graphs=graphs, **how)
            for graphs in (self.searches, None)
        )

    def find(self, lengths, generators=None):
        """What each finds for the same batch, on the host."""
        batch = sample(lengths)
        batch["net_input"] = {name: x.cuda() for name, x in batch["net_input"].items()}
        found = []
        for generator in generators or (self.device, self.host):
            hypos = generator.generate([], batch, **self.call)
            found.append([[{name: x.cpu() for name, x in h.items()} for h in one] for one in hypos])
        return found

    def recordings(self):
        assert not self.searches._told
        return self.searches.decoder.graphs.recordings


@gpu
@pytest.mark.parametrize("way", HERE)
@pytest.mark.parametrize("name", FUSED)
def test_captured_steps_find_what_the_host_finds(name, way):
    for beam_size in (1, 2, 5):
        both_ways = OnGpu(final(MODELS[name][0]), beam_size=beam_size, **HERE[way])
        for lengths in (*BATCHES, *BATCHES):
            same_hypotheses(*both_ways.find(lengths))
        assert both_ways.recordings()


@gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("architecture", ["transformer", "memtx_feedback"])
def test_captured_steps_in_lower_precision(architecture, dtype):
    sizes = {f"decoder_{n}": 64 for n in ("embed_dim", "ffn_embed_dim")}
    model = final(architecture, encoder_embed_dim=64, encoder_ffn_embed_dim=64, **sizes)
    both_ways = OnGpu(model.to(dtype), max_len_b=30)
    for lengths in (*BATCHES, *BATCHES):
        for a, b in zip(*both_ways.find(lengths), strict=True):
            torch.testing.assert_close(a[0]["score"], b[0]["score"], rtol=0, atol=0.1)
    assert both_ways.recordings()


@gpu
def test_replayed_steps_wait_for_nothing(monkeypatch):
    both_ways = OnGpu(final(), max_len_b=40, min_len=40)
    for _ in range(2):  # the first time the memory grew, which drops what was recorded
        both_ways.find(BATCHES[0])
    stock = both_ways.searches.decoder.graphs.replay

    def run(form, work):
        torch.cuda.set_sync_debug_mode("error")
        try:
            stock(form, work)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    before = set(both_ways.recordings())
    monkeypatch.setattr(both_ways.searches.decoder.graphs, "replay", run)
    same_hypotheses(*both_ways.find(BATCHES[0]))
    assert set(both_ways.recordings()) == before


@gpu
def test_a_step_that_cannot_be_captured_is_run_by_the_host(monkeypatch, caplog):
    stock = DeviceStep._continuations
    monkeypatch.setattr(
        DeviceStep, "_continuations", lambda self: (self.state.room.sum().item(), stock(self))[1]
    )
    both_ways = OnGpu(final())
    for _ in range(2):
        same_hypotheses(*both_ways.find(BATCHES[0]))
    (line,) = (x for x in caplog.records if x.levelno == logging.WARNING)
    assert "no step will be replayed" in line.getMessage()


@gpu
def test_memory_is_bounded_and_given_back():
    both_ways = OnGpu(final(decoder_layers=1), max_len_b=40, beam_size=5)
    held = []
    for _ in range(3):
        for lengths in ([4, 2, 5, 3] * 20, [3, 3], [7] * 9):
            same_hypotheses(*both_ways.find(lengths))
        held.append(torch.cuda.memory_allocated())
    assert held[2] == held[1]
    block = both_ways.searches.decoder._arena.num_bytes
    del both_ways
    gc.collect()
    assert torch.cuda.memory_allocated() <= held[2] - block


@gpu
@pytest.mark.parametrize("precision", ["", "--bf16", "--fp16"])
def test_fairseq_generate_runs_on_a_gpu(precision, trained, caplog, capsys):
    run_generate(*trained, "--memtx-generator", "cuda-graphs", *precision.split())
    assert capsys.readouterr().out.count("\nH-") == 12
    assert not [x for x in caplog.records if x.name.endswith(("graph_searches", "step_graphs"))]
