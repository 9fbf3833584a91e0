"""The decoding benchmark on tiny models: every mode, what it records, and what is made of it."""

import argparse
import gzip
import json
from pathlib import Path

import pytest

from data_prep.errors import UserError
from scripts import bench_decoding, decoding_quality, decoding_report, untrained
from scripts.decoding_systems import modes, of_runs, spec
from scripts.hypotheses import read_lines
from scripts.score import score

RESULTS = Path(__file__).resolve().parents[2] / "results" / "decoding"


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
def record(prepared_sample: Path, tiny_checkpoints, tmp_path_factory) -> tuple[dict, Path]:
    """fairseq's generator and ours, whose output must be the same."""
    out = tmp_path_factory.mktemp("bench_decoding")
    systems = ("transformer:plain", "transformer:fast", "feedback:fast", "feedback:fast+int8")
    assert bench_decoding.main(flags(prepared_sample, tiny_checkpoints, out, *systems)) == 0
    return json.loads((out / "tiny.json").read_bytes()), out


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
    assert found["threads"] == 1 and found["clock"] == "wall"
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
        assert score(text, references)["bleu"] == system["bleu"]


def test_what_should_be_alike_is_compared(record):
    """In eight bits with in float; with the Transformer of the same mode; but not equal texts."""
    found = record[0]
    named = [system["name"] for system in found["systems"]]
    pairs = [(a["name"], b["name"]) for a, b in decoding_quality.pairs(found["systems"])]
    assert pairs == [("feedback-fast", "transformer-fast"), ("feedback-fast+int8", "feedback-fast")]
    assert {one["system"] for one in found["differences"]} <= set(named)
    assert all(0 <= one["p_value"] <= 1 for one in found["differences"])


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
    with pytest.raises(UserError, match="must hold"):
        decoding_quality.read_text(tmp_path, name)


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


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> Path:
    """Untrained models of scripts.untrained."""
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
    with pytest.raises(UserError, match="must hold finished runs"):
        of_runs(tmp_path / "none", ("fast",))


@pytest.mark.parametrize(
    "text", ["a", "=b.pt", "a=b.pt:quick", "a=b.pt:plain+shortlist", "a=:fast"]
)
def test_other_modes_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be NAME=CHECKPOINT"):
        spec(text)


def test_percentiles_are_values_that_were_measured():
    values = [float(value) for value in range(1, 101)]
    assert [bench_decoding.percentile(values, share) for share in (50, 90, 99)] == [50, 90, 99]
    assert bench_decoding.percentile([3.0], 50) == bench_decoding.percentile([3.0], 99) == 3.0


def test_the_front_holds_what_nothing_else_beats():
    points = [(10.0, 30.0), (20.0, 29.0), (15.0, 28.0), (20.0, 28.5), (5.0, 31.0), (4.0, 31.0)]
    assert decoding_report.pareto_front(points) == [(5.0, 31.0), (10.0, 30.0), (20.0, 29.0)]


@pytest.mark.parametrize(
    "changed, message",
    [
        (["--system", "a=none.pt"], "checkpoint of `a` must be a file"),
        (["--lines", "3"], "`--lines` must have 2 numbers, as `--batches`, but has 1"),
        (["--references", "none"], "`none` must hold the references"),
        (["--clock", "processor", "--threads", "2"], "`--threads` must be 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    prepared_sample: Path, tiny_checkpoints, tmp_path, capsys, changed, message
):
    line = [*flags(prepared_sample, tiny_checkpoints, tmp_path, "feedback:fast"), *changed]
    assert bench_decoding.main(line) == 1
    assert message in capsys.readouterr().err


def test_a_table_without_a_record_is_refused(tmp_path, capsys):
    line = ["--name", "none", "--out", str(tmp_path), "--table-only"]
    assert bench_decoding.main(line) == 1
    assert "must be a record, but there is none" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_published_tables_are_made_of_their_records_and_texts_are_there(path):
    for system in bench_decoding.read_record(path)["systems"]:
        if "bleu" in system:
            decoding_quality.read_text(RESULTS / "hypotheses", system["hypotheses_sha256"])
    page = decoding_report.page(bench_decoding.read_record(path))
    assert page == path.with_suffix(".md").read_text(encoding="utf-8")
