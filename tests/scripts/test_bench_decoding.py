"""The decoding benchmark on tiny models: every mode, what it records, and what is made of it."""

import argparse
import json
from pathlib import Path

import pytest

from scripts import bench_decoding, decoding_report
from scripts.decoding_systems import spec

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
        "3,20",
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


def test_bleu_is_that_of_the_whole_test_set(record):
    """Of 20 lines, which is all there are, and not of the 3 of batch 1."""
    found, _ = record
    whole = found["systems"][0]["speed"][1]["lines"] == found["test_lines"]
    assert all(("bleu" in system) == whole for system in found["systems"])


def test_the_state_of_our_search_is_keys_and_values(record):
    """16 numbers of 4 bytes: in two layers, or once for all; there is no byte for padding."""
    plain, fast, feedback, _ = (system["state"] for system in record[0]["systems"])
    assert plain["bytes_per_token"] == fast["bytes_per_token"] == 2 * 2 * 16 * 4
    assert feedback["bytes_per_token"] == 2 * 16 * 4


def test_table_and_plots_come_from_the_record_alone(record):
    found, out = record
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert bench_decoding.main(["--name", "tiny", "--out", str(out), "--table-only"]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(before) == ["tiny.json", "tiny.md", "tiny.png", "tiny.svg"]
    page = before["tiny.md"].decode()
    assert all(system["name"] in page for system in found["systems"])


def test_output_that_differs_is_marked(record):
    found = json.loads(json.dumps(record[0]))
    assert "*" not in decoding_report.speeds(found)[2]
    found["systems"][0]["speed"][1]["identical_output"] = False
    assert decoding_report.speeds(found)[2].count("*") == 1
    assert any(fact.startswith("* The output differed") for fact in decoding_report.facts(found))


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
def test_published_tables_are_made_of_their_records(path):
    page = decoding_report.page(bench_decoding.read_record(path))
    assert page == path.with_suffix(".md").read_text(encoding="utf-8")
