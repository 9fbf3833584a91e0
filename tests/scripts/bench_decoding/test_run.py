"""The decoding benchmark on tiny models: every mode, what it records, and what is made of it."""

import argparse
import gzip
import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock

from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.commands.score import score
from fairseq_memtx.ground.errors import UserError
from scripts.bench_decoding import checks as decoding_checks
from scripts.bench_decoding import quality as decoding_quality
from scripts.bench_decoding import report as decoding_report
from scripts.bench_decoding import run as bench_decoding
from scripts.bench_decoding import systems as decoding_systems
from scripts.bench_decoding import untrained
from scripts.bench_decoding.systems import DEFAULT_MODES, modes, of_runs, spec
from scripts.shared import plots
from tests import checkout
from tests.gpu import gpu

RESULTS = checkout.RESULTS / "decoding"


def flags(prepared: Path, checkpoints: dict[str, Path], out: Path, *systems: str) -> list[str]:
    line = ["--name", "tiny", "--data-bin", str(prepared / "bin"), "--out", str(out)]
    for system in systems:
        name, mode = system.split(":")
        line += ["--system", f"{name}-{mode}={checkpoints[name]}:{mode}"]
    sizes = [
        "--batches",
        "1,4",
        "--lines",
        "3,8",
        "--repeats",
        "2",
        "--max-len-a",
        "0",
        "--max-len-b",
        "8",
    ]
    return [*line, *sizes, "--beam", "2"]


@pytest.fixture(scope="module")
def record(
    prepared_sample: Path, tiny_checkpoints, shared_tmp: Path, tmp_path_factory
) -> tuple[dict, Path]:
    """fairseq's generator and ours, whose output must be the same; measured once per test run."""
    out, own = shared_tmp / "bench_decoding", tmp_path_factory.mktemp("bench_decoding") / "own"
    systems = ("transformer:plain", "transformer:fast", "feedback:fast", "feedback:fast+int8")
    with FileLock(f"{out}.lock"):
        if not (out / "tiny.svg").exists():
            assert bench_decoding.main(flags(prepared_sample, tiny_checkpoints, out, *systems)) == 0
    shutil.copytree(out, own)
    return json.loads((own / "tiny.json").read_bytes()), own


def test_every_system_is_measured_at_every_batch_size(record):
    found, _ = record
    assert [s["mode"] for s in found["systems"]] == ["plain", "fast", "fast", "fast+int8"]
    assert [s["architecture"] for s in found["systems"]] == ["transformer"] * 2 + ["feedback"] * 2
    for system in found["systems"]:
        assert system["depth"] == 2 and system["encoder_layers"] == 1
        assert [speed["batch"] for speed in system["speed"]] == [1, 4]
        for speed in system["speed"]:
            assert len(speed["seconds"]) == 2 and speed["identical_output"]
        latency = system["speed"][0]["latency"]
        assert 0 < latency["50"] <= latency["90"] <= latency["99"]
        assert "latency" not in system["speed"][1]
        assert system["peak_bytes"] is None or system["peak_bytes"] >= 0
        assert system["loaded_bytes"] is None or system["loaded_bytes"] >= 0
    assert found["threads"] == 1 and found["clock"] == "wall"
    assert found["hardware"]["device"] == "cpu" and found["dtype"] == "float32"
    assert found["search"] == {"beam": 2, "lenpen": 1.0, "max_len": [0.0, 8], "min_len": 1}
    assert found["sessions"] == 1 and found["warnings"] == []
    assert str(Path.home()) not in found["command"]


def test_both_generators_give_the_same_text(record):
    plain, fast, *_ = record[0]["systems"]
    hashes = [[speed["output_sha256"] for speed in s["speed"]] for s in (plain, fast)]
    assert hashes[0] == hashes[1]


def test_bleu_is_that_of_the_whole_test_set(record, prepared_sample: Path):
    """Of all lines, which are more than are timed; the text is there under its hash."""
    found, out = record
    references = read_lines(prepared_sample / "refs" / "test.de")
    assert found["test_lines"] == len(references) > found["systems"][0]["speed"][1]["lines"]
    for system in found["systems"]:
        text = decoding_quality.read_text(out / "hypotheses", system["hypotheses_sha256"])
        scores = score(text, references)
        assert scores["bleu"] == system["bleu"]
        assert scores["length_ratio"] == system["length_ratio"]


def test_what_should_be_alike_is_compared(record):
    """In eight bits with in float; with the Transformer of the same mode; but not equal texts."""
    found = record[0]
    named = [system["name"] for system in found["systems"]]
    pairs = [(a["name"], b["name"]) for a, b in decoding_quality.pairs(found["systems"])]
    assert pairs == [
        ("transformer-fast", "transformer-plain"),
        ("feedback-fast", "transformer-fast"),
        ("feedback-fast+int8", "feedback-fast"),
    ]
    assert {one["system"] for one in found["differences"]} <= set(named)
    for one in found["differences"]:
        assert 0 <= one["p_value"] <= 1 and 0 < one["lines"] <= found["test_lines"]


def test_the_first_of_several_is_compared_with_the_first():
    sizes = {"encoder_layers": 3, "depth": 1, "mode": "fast"}
    facts = [
        {"name": f"{kind}{seed}", "architecture": kind, "checkpoint": f"{kind}{seed}", **sizes}
        for seed in (1, 2)
        for kind in ("transformer", "feedback")
    ]
    pairs = [(a["name"], b["name"]) for a, b in decoding_quality.pairs(facts)]
    assert pairs == [("feedback1", "transformer1"), ("feedback2", "transformer2")]


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(gzip.compress(b"other\n"))]
)
def test_a_text_that_is_not_there_is_refused(tmp_path, damage):
    name = decoding_quality.store(tmp_path, ["a b", "c"])
    assert decoding_quality.read_text(tmp_path, name) == ["a b", "c"]
    damage(decoding_quality.text_path(tmp_path, name))
    with pytest.raises(UserError, match="run the benchmark again"):
        decoding_quality.read_text(tmp_path, name)


def test_texts_that_no_record_names_are_removed(tmp_path):
    old, new = (decoding_quality.store(tmp_path, [text]) for text in ("old", "new"))
    (tmp_path / "notes.txt.gz").touch()
    systems = [{"bleu": {}, "hypotheses_sha256": new}, {"name": "untrained"}]
    decoding_quality.prune(tmp_path, [{"systems": systems}])
    assert decoding_quality.read_text(tmp_path, new) == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["notes.txt.gz", f"{new[:16]}.txt.gz"]
    )
    with pytest.raises(UserError, match="which held the hypotheses"):
        decoding_quality.read_text(tmp_path, old)


def test_the_state_of_our_search_is_keys_and_values(record):
    """16 numbers of 4 bytes: in two layers, or once for all; there is no byte for padding."""
    plain, fast, feedback, _ = (system["state"] for system in record[0]["systems"])
    assert plain["bytes_per_token"] == fast["bytes_per_token"] == 2 * 2 * 16 * 4
    assert feedback["bytes_per_token"] == 2 * 16 * 4


def test_table_and_plots_come_from_the_record_alone(record):
    found, out = record
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert bench_decoding.main(["--name", "tiny", "--out", str(out), "--table-only"]) == 0
    assert {name: (out / name).read_bytes() for name in before} == before
    assert sorted(before) == ["tiny.json", "tiny.md", "tiny.png", "tiny.svg"]
    page = before["tiny.md"].decode()
    assert all(system["name"] in page for system in found["systems"])


def test_output_that_differs_is_marked(record):
    found = json.loads(json.dumps(record[0]))
    assert "*" not in decoding_report.speeds(found)[2]
    found["systems"][0]["speed"][1]["identical_output"] = False
    assert decoding_report.speeds(found)[2].count("*") == 1
    assert any(fact.startswith("* The output differed") for fact in decoding_report.facts(found))


def test_a_page_tells_device_precision_sessions_and_warnings(record):
    found = json.loads(json.dumps(record[0]))
    page = decoding_report.page(found)
    assert "1 thread(s) for every system, wall time, float32" in page
    assert "growth of the process by loading" in page and "in one process," in page
    found["hardware"]["device"], found["dtype"] = "Abacus 9000", "bf16"
    found["warnings"], found["sessions"] = ["searching step by step"], 2
    found["systems"][0]["peak_bytes"] = None
    page = decoding_report.page(found)
    assert "bf16" in page and "on Abacus 9000, which is waited for before a clock is read" in page
    assert "memory that torch holds on the GPU" in page
    assert "one process for each of 2 parts" in page
    assert "- Warning while this was measured: searching step by step" in page


def test_rates_are_set_against_the_transformer_and_the_rival():
    def system(architecture: str, depth: int, mode: str) -> dict:
        name = f"{architecture[0]}{depth} {mode}"
        sizes = {"encoder_layers": 3, "depth": depth}
        return {"name": name, "architecture": architecture, "mode": mode, **sizes}

    short = "fast+int8+shortlist"
    found = [system("feedback", depth, mode) for depth in (1, 2) for mode in ("plain", "fast")]
    found += [system("feedback", 1, short), system("transformer", 1, "plain")]
    found += [system("transformer", 1, f"ct2{rest}") for rest in ("", "+int8", "+int8+shortlist")]
    found += [system("transformer", 2, "plain"), system("transformer", 2, "fast")]
    assert [(a["name"], b["name"]) for a, b in decoding_report.rate_pairs(found)] == [
        ("f1 plain", "t1 plain"),
        ("f1 fast", "t1 ct2"),
        ("f2 plain", "t2 plain"),
        ("f2 fast", "t2 fast"),
        (f"f1 {short}", "t1 ct2+int8"),
        (f"f1 {short}", "t1 ct2+int8+shortlist"),
    ]


def test_a_relative_rate_is_that_of_turns():
    """Twice the words in the same time, in half and in a quarter of it."""
    ours, theirs = (
        {"words": 20, "seconds": [1.0, 2.0, 1.0]},
        {"words": 10, "seconds": [1.0, 4.0, 4.0]},
    )
    assert decoding_report.ratio(ours, theirs) == "4.00 (2.00-8.00)"


def test_a_figure_has_a_row_for_each_precision_and_a_point_for_all_seeds(record):
    found = json.loads(json.dumps(record[0]))
    drawn = decoding_report.figure(found)
    titles = [panel.get_title() for panel in drawn.axes]
    assert titles == ["batch 1, float32", "batch 4, float32", "batch 1, int8", "batch 4, int8"]
    assert len({panel.get_ylim() for panel in drawn.axes}) == 1
    assert drawn.axes[0].get_xlim() == drawn.axes[2].get_xlim()
    found["systems"] = [system for system in found["systems"] if "int8" not in system["mode"]]
    assert len(decoding_report.figure(found).axes) == 2
    first, second = (json.loads(json.dumps(found["systems"][0])) for _ in range(2))
    first["bleu"]["score"], second["bleu"]["score"] = 10.0, 12.0
    (point,) = decoding_report.points_of([first, second], 0)
    assert point.depth == 2 and point.score == (11.0, 10.0, 12.0)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_after_what_it_has_measured(
    prepared_sample: Path, tiny_checkpoints, tmp_path, monkeypatch
):
    line = flags(prepared_sample, tiny_checkpoints, tmp_path, "transformer:fast")
    stock = bench_decoding.time_all

    def interrupted(args, systems, size, lines):
        if size == 4:
            raise KeyboardInterrupt
        return stock(args, systems, size, lines)

    monkeypatch.setattr(bench_decoding, "time_all", interrupted)
    assert bench_decoding.main(line) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.unfinished"]
    kept = json.loads((tmp_path / "tiny.unfinished").read_bytes())["parts"]["batch 1"]
    monkeypatch.setattr(bench_decoding, "time_all", stock)
    assert bench_decoding.main(line) == 0
    found = json.loads((tmp_path / "tiny.json").read_bytes())
    assert [found["systems"][0]["speed"][0]] == kept and found["sessions"] == 2
    assert not (tmp_path / "tiny.unfinished").exists()


# --- Graphs and GPUs ----------------------------------------------------------------------------


@pytest.mark.slow
def test_graphs_are_measured_as_any_mode_is(
    prepared_sample: Path, tiny_checkpoints, tmp_path, monkeypatch
):
    """On a CPU, with steps that are recorded and replayed by operations."""
    from fairseq_memtx.generation import search
    from fairseq_memtx.generation.graph_searches import GraphSearches
    from tests.fairseq_memtx.generation.step_recorder import StepRecorder

    monkeypatch.setattr(decoding_checks, "check_device", lambda args: None)
    monkeypatch.setattr(
        search, "GraphSearches", lambda: GraphSearches(lambda _: StepRecorder(), "cpu")
    )
    systems = ("feedback:fast", "feedback:graph")
    assert bench_decoding.main(flags(prepared_sample, tiny_checkpoints, tmp_path, *systems)) == 0
    fast, graph = json.loads((tmp_path / "tiny.json").read_bytes())["systems"]
    assert graph["mode"] == "graph" and graph["state"] == fast["state"]
    for one, other in zip(fast["speed"], graph["speed"], strict=True):
        assert one["output_sha256"] == other["output_sha256"] and other["identical_output"]


def test_a_search_that_falls_back_is_not_measured_as_graphs(
    prepared_sample: Path, tiny_checkpoints, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(decoding_checks, "check_device", lambda args: None)
    line = flags(prepared_sample, tiny_checkpoints, tmp_path, "feedback:graph")
    assert bench_decoding.main(line) == 1
    assert "did not search in graphs" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@gpu
def test_a_gpu_is_measured_in_every_mode(prepared_sample: Path, tiny_checkpoints, tmp_path):
    systems = [f"{name}:{mode}" for name in tiny_checkpoints for mode in ("plain", "fast", "graph")]
    line = flags(prepared_sample, tiny_checkpoints, tmp_path, *systems)
    assert bench_decoding.main([*line, "--device", "cuda", "--dtype", "bf16"]) == 0
    found = json.loads((tmp_path / "tiny.json").read_bytes())
    assert found["hardware"]["device"] != "cpu" and found["warnings"] == []
    for system in found["systems"]:
        assert system["peak_bytes"] > 0 and system["state"]["bytes_per_token"] > 0
        assert all(speed["identical_output"] for speed in system["speed"])


def test_what_the_rival_lacks_is_told_in_one_line():
    wanted = "leave the mode ct2 out: Library libcublas is not found"
    with (
        pytest.raises(UserError, match=wanted),
        decoding_systems.rivals_errors(spec("a=b.pt:ct2")),
    ):
        raise RuntimeError("Library libcublas\nis not found")


def test_flags_follow_device_and_precision():
    line = ["--name", "x", "--data-bin", "none", "--system", "a=a.pt"]
    on_cpu = bench_decoding.fairseq_flags(bench_decoding.parse_args(line))
    assert "--cpu" in on_cpu and "--bf16" not in on_cpu
    given = bench_decoding.parse_args([*line, "--device", "cuda", "--dtype", "bf16"])
    on_gpu = bench_decoding.fairseq_flags(given)
    assert "--cpu" not in on_gpu and "--bf16" in on_gpu


def test_the_rival_has_our_precision():
    precision = decoding_systems.rival_precision
    assert precision(("ct2",), "float32") == "float32"
    assert precision(("ct2",), "bf16") == "bfloat16"
    assert precision(("ct2", "int8"), "float32") == "int8"
    assert precision(("ct2", "int8"), "fp16") == "int8_float16"


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """Untrained models of scripts.bench_decoding.untrained."""
    out = tmp_path_factory.mktemp("untrained")
    line = ["--out", str(out), "--size", "tiny", "--layers", "1-2", "--vocab-size", "200"]
    assert untrained.main([*line, "--lines", "12", "--source-length", "6"]) == 0
    return out


def forced(folder: Path, out: Path, *systems: str) -> list[str]:
    """Flags for output of 7 words."""
    line = ["--name", "forced", "--data-bin", str(folder / "bin"), "--out", str(out)]
    line += ["--untrained", "--shortlist", str(folder / "shortlist.npz"), "--batches", "1,4"]
    line += ["--lines", "3,12", "--repeats", "1", "--beam", "2"]
    line += ["--min-len", "7", "--max-len-a", "0", "--max-len-b", "7"]
    for name in systems:
        model, mode = name.split(":")
        line += ["--system", f"{name}={folder / model}-1-2.pt:{mode}"]
    return line


def check_forced(out: Path) -> None:
    found = json.loads((out / "forced.json").read_bytes())
    assert found["untrained"] and "differences" not in found
    for system in found["systems"]:
        assert "bleu" not in system
        # with the end of the sentence
        assert [speed["tokens"] for speed in system["speed"]] == [3 * 8, 12 * 8]
    page = (out / "forced.md").read_text(encoding="utf-8")
    assert "speed alone" in page and "paired bootstrap" not in page
    assert not (out / "forced.png").exists()


@pytest.mark.slow
def test_untrained_models_write_as_much_as_they_are_told(made_up: Path, tmp_path):
    systems = ("transformer:plain", "transformer:fast", "feedback:fast+int8+shortlist")
    assert bench_decoding.main(forced(made_up, tmp_path, *systems)) == 0
    check_forced(tmp_path)


@pytest.mark.slow
def test_ctranslate2_writes_as_much(made_up: Path, tmp_path):
    pytest.importorskip("ctranslate2")
    systems = ("transformer:ct2", "transformer:ct2+int8+shortlist")
    assert bench_decoding.main(forced(made_up, tmp_path, *systems)) == 0
    check_forced(tmp_path)


@pytest.mark.slow
def test_ctranslate2_translates_as_the_transformer_does(
    prepared_sample: Path, tiny_checkpoints, tmp_path
):
    pytest.importorskip("ctranslate2")
    systems = ("transformer:fast", "transformer:ct2", "transformer:ct2+int8")
    line = flags(prepared_sample, tiny_checkpoints, tmp_path, *systems)
    # One beam: which of the untrained model's many even hypotheses end is a matter of taste.
    assert bench_decoding.main([*line, "--beam", "1"]) == 0
    found = json.loads((tmp_path / "tiny.json").read_bytes())
    ours, rival, _ = found["systems"]
    assert ours["speed"][1]["output_sha256"] == rival["speed"][1]["output_sha256"]
    assert rival["state"] is None


@pytest.mark.slow
def test_a_model_that_ctranslate2_does_not_know_is_refused(
    prepared_sample: Path, tiny_checkpoints, tmp_path, capsys
):
    pytest.importorskip("ctranslate2")
    line = flags(prepared_sample, tiny_checkpoints, tmp_path, "feedback:ct2")
    assert bench_decoding.main(line) == 1
    assert "cannot be converted" in capsys.readouterr().err


# --- Parts --------------------------------------------------------------------------------------


def test_modes_are_told_after_the_checkpoint():
    assert spec("a=b.pt").mode == ("plain",)
    found = spec("a=folder/b.pt:fast+int8+shortlist")
    assert found.checkpoint == Path("folder/b.pt") and found.mode_name == "fast+int8+shortlist"
    assert found.flags(Path("list")) == [
        "--memtx-generator", "fast", "--memtx-int8", "--memtx-shortlist", "list"
    ]  # fmt: skip
    assert spec("a=b.pt:ct2+int8").flags(None) == []
    assert spec("a=b.pt:graph").flags(None) == ["--memtx-generator", "cuda-graphs"]


def test_finished_runs_of_an_experiment_are_found(tmp_path):
    for name in ("transformer-d1-s1", "feedback-d1-s1", "feedback-d2-s1"):
        (tmp_path / name).mkdir()
    for name in ("transformer-d1-s1", "feedback-d1-s1"):
        (tmp_path / name / "averaged.pt").touch()
    found = of_runs(tmp_path, modes("fast,ct2+int8"))
    assert [one.name for one in found] == [
        "feedback-d1-s1 fast", "transformer-d1-s1 fast", "transformer-d1-s1 ct2+int8"
    ]  # fmt: skip
    assert found[2].mode == ("ct2", "int8")
    (tmp_path / "transformer-xl-d1-s1").mkdir()
    (tmp_path / "transformer-xl-d1-s1" / "averaged.pt").touch()
    found = of_runs(tmp_path, DEFAULT_MODES["cuda"])
    assert [one.mode_name for one in found if "transformer-d1" in one.name] == [
        "plain", "fast", "graph", "ct2"
    ]  # fmt: skip
    assert [one.mode_name for one in found if "feedback" in one.name] == ["plain", "fast", "graph"]
    assert [one.mode_name for one in found if "xl" in one.name] == ["plain", "fast"]
    with pytest.raises(UserError, match="holds no finished runs"):
        of_runs(tmp_path / "none", ("fast",))


@pytest.mark.parametrize(
    "text",
    ["a", "=b.pt", "a=b.pt:quick", "a=b.pt:plain+shortlist", "a=:fast", "a=b.pt:graph+int8"]
    + ["a=b.pt:int8", "a=b.pt:fast+int8+int8", "a=b.pt:"],
)
def test_other_modes_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not NAME=CHECKPOINT"):
        spec(text)


def test_percentiles_are_values_that_were_measured():
    values = [float(value) for value in range(1, 101)]
    assert [bench_decoding.percentile(values, share) for share in (50, 90, 99)] == [50, 90, 99]
    assert bench_decoding.percentile([3.0], 50) == bench_decoding.percentile([3.0], 99) == 3.0


def test_the_front_holds_what_nothing_else_beats():
    points = [(10.0, 30.0), (20.0, 29.0), (15.0, 28.0), (20.0, 28.5), (5.0, 31.0), (4.0, 31.0)]
    points = [plots.Point(1, (speed, 1.0, 99.0), (score, 1.0, 99.0)) for speed, score in points]
    assert plots.pareto_front(points) == [(5.0, 31.0), (10.0, 30.0), (20.0, 29.0)]


@pytest.mark.parametrize(
    "changed, message",
    [
        (["--system", "a=none.pt"], "there is no checkpoint `none.pt` of `a`"),
        (["--lines", "3"], "`--lines` has 1 numbers: it has to have 2, as `--batches`"),
        (["--lines", "3,3"], "`--lines` is 3: it has to be at least the batch size 4"),
        (["--lines", "3,9999"], "`--lines` is 9999: it has to be at most"),
        (["--batches", "2,2"], "`--batches` has the same number twice: 2, 2"),
        (["--references", "none"], "there is no file `none` of references"),
        (["--references", __file__], "as the test set"),
        (
            ["--clock", "processor", "--threads", "2"],
            "`--threads` is 2: it has to be 1 with `--clock proc",
        ),
        (
            ["--clock", "processor", "--device", "cuda"],
            "`--device` is cuda: it has to be cpu with `--clock",
        ),
        (["--dtype", "bf16"], "`--dtype` is bf16: it has to be float32 with `--device cpu`"),
        (["--system", "a={}:graph"], "`--device` is cpu: it has to be cuda for the mode"),
        (
            ["--system", "a={}:fast+int8", "--device", "cuda"],
            "cpu for our weights in eight bits of `a`",
        ),
        (["--system", "a={}:fast+shortlist"], "`--shortlist` is None: `a` needs a file"),
        (["--device", "cuda"], "`--device` is cuda, but torch finds no GPU here"),
        (["--fairseq-args", "--fp16"], "leave --fp16 out of `--fairseq-args`"),
        (["--system", "a={}:ct2", "--fairseq-args", "--unkpen", "1"], "changes --unkpen, which"),
        (["--untrained"], "`--untrained` needs one length for all"),
        (["--data-bin", "none"], "`none` holds no binarised test set"),
        (["--system", "a={broken}"], "is no whole checkpoint: it is cut short"),
        (["--system", "a={}:fast+shortlist", "--shortlist", "{broken}"], "is not a shortlist"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    prepared_sample: Path, tiny_checkpoints, tmp_path, capsys, changed, message, monkeypatch
):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    broken, out = tmp_path / "broken", tmp_path / "out"
    broken.write_text("neither a checkpoint nor a shortlist", encoding="utf-8")
    changed = [word.format(tiny_checkpoints["feedback"], broken=broken) for word in changed]
    line = [*flags(prepared_sample, tiny_checkpoints, out, "feedback:fast"), *changed]
    assert bench_decoding.main(line) == 1
    errors = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.slow
def test_a_model_of_another_dictionary_is_refused(
    prepared_sample: Path, made_up: Path, tiny_checkpoints, tmp_path, capsys
):
    line = flags(prepared_sample, tiny_checkpoints, tmp_path, "feedback:fast")
    system = ["--system", f"a={made_up / 'feedback-1-2.pt'}"]
    assert bench_decoding.main([*line, *system]) == 1
    errors = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error:")]
    assert len(errors) == 1 and "feedback-1-2.pt" in errors[0]


@pytest.mark.parametrize(
    "gone, message",
    [("dict.de.txt", "holds no dict.de.txt"), ("test.en-de.en.bin", "holds no test.en-de.en.bi")],
)
def test_data_that_is_not_whole_is_refused(made_up: Path, tmp_path, capsys, gone, message):
    (tmp_path / "bin").mkdir()
    for path in (made_up / "bin").iterdir():
        if path.name != gone:
            (tmp_path / "bin" / path.name).write_bytes(path.read_bytes())
    line = [*forced(made_up, tmp_path / "out", "feedback:fast"), "--data-bin"]
    assert bench_decoding.main([*line, str(tmp_path / "bin")]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "is not JSON"),
        ("[]", "is not a record of this benchmark"),
        ('{"schema": 1}', "is not a record of this benchmark"),
        ('{"schema": 3, "name": "x"}', "` is damaged (KeyError: "),
        ('{"schema": 3, "name": "x", "systems": []}', "` is damaged"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, capsys, content, message):
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    assert bench_decoding.main(["--name", "x", "--out", str(tmp_path), "--table-only"]) == 1
    errors = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_table_without_a_record_is_refused(tmp_path, capsys):
    line = ["--name", "none", "--out", str(tmp_path), "--table-only"]
    assert bench_decoding.main(line) == 1
    assert "there is no record" in capsys.readouterr().err


PUBLISHED = sorted(RESULTS.glob("*.json"))


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.stem != "multi30k")) for p in PUBLISHED],
    ids=lambda path: path.stem,
)
def test_published_tables_and_plots_are_made_of_their_records(path, tmp_path):
    (tmp_path / path.name).write_bytes(path.read_bytes())
    pinned = f"matplotlib=={metadata.version('matplotlib')}"
    requirements = checkout.CHECKOUT / "requirements"
    pins = [file.read_text("utf-8") for file in requirements.glob("*.txt")]
    for made in bench_decoding.report(tmp_path, path.stem):
        if made.suffix == ".md" or any(pinned in text for text in pins):
            assert made.read_bytes() == (RESULTS / made.name).read_bytes(), made.name


def test_published_texts_are_those_of_the_records():
    """All are there, and none of runs that were recorded anew."""
    systems = [s for path in PUBLISHED for s in bench_decoding.read_record(path)["systems"]]
    named = {system["hypotheses_sha256"] for system in systems if "bleu" in system}
    for name in named:
        decoding_quality.read_text(RESULTS / "hypotheses", name)
    assert len(list((RESULTS / "hypotheses").iterdir())) == len(named)


def test_models_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    one, other = (tmp_path / name / "averaged.pt" for name in ("feedback-d1", "feedback-d2"))
    assert decoding_systems.told(one) == "feedback-d1/averaged.pt" != decoding_systems.told(other)
    inside = checkout.CHECKOUT / "runs" / "x" / "averaged.pt"
    assert decoding_systems.told(inside) == "runs/x/averaged.pt"
