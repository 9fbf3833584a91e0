"""Every command parses its flags, explains itself quickly, and ends user errors in one line."""

import subprocess
import sys

import pytest

from fairseq_memtx.commands import average, hypotheses, score
from scripts.experiment import run as experiment
from scripts.experiment.configs import EXPERIMENTS
from scripts.shared import measure, report
from tests.checkout import CHECKOUT

#: What is run in a checkout: the module that parses the flags, and how the command calls itself.
SCRIPTS = {
    "bench_data.run": "bench_data",
    "bench_decoding.goals": "bench_decoding.goals",
    "bench_decoding.int8": "bench_decoding.int8",
    "bench_decoding.lengths": "bench_decoding.lengths",
    "bench_decoding.run": "bench_decoding",
    "bench_decoding.serving": "bench_decoding.serving",
    "bench_decoding.untrained": "bench_decoding.untrained",
    "bench_decoding.workers": "bench_decoding.workers",
    "bench_training.memory": "bench_training.memory",
    "bench_training.losses": "bench_training.losses",
    "bench_training.profiling": "bench_training.profiling",
    "bench_training.run": "bench_training",
    "bench_training.updates": "bench_training.updates",
    "experiment.course": "experiment.course",
    "experiment.run": "experiment",
    "shared.measure": "shared.measure",
    "shared.other_forms": "shared.other_forms",
    "shared.report": "shared.report",
    "studies.char_lm": "studies.char_lm",
    "studies.compare_engines": "studies.compare_engines",
    "studies.document_lengths": "studies.document_lengths",
    "studies.documents": "studies.documents",
    "studies.long_document": "studies.long_document",
    "studies.maze": "studies.maze",
    "studies.precision": "studies.precision",
    "studies.real_documents": "studies.real_documents",
    "studies.reliability": "studies.reliability",
    "studies.remedies": "studies.remedies",
    "studies.segments.decoding": "studies.segments.decoding",
    "studies.segments.training": "studies.segments.training",
    "studies.starting": "studies.starting",
    "studies.state_tracking": "studies.state_tracking",
    "studies.segments.stop_gradient": "studies.segments.stop_gradient",
    "studies.sweep_error": "studies.sweep_error",
}


def test_every_script_that_parses_flags_is_listed() -> None:
    folder = CHECKOUT / "scripts"
    found = [path for path in folder.rglob("*.py") if "def parse_args(" in path.read_text("utf-8")]
    names = {".".join(path.relative_to(folder).with_suffix("").parts) for path in found}
    assert names == set(SCRIPTS)


def test_help_imports_neither_torch_nor_fairseq() -> None:
    """``--help`` of all scripts in one fresh Python, which then looks at what was imported."""
    program = f"""
import contextlib, importlib, io, sys
for module, name in {SCRIPTS!r}.items():
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        importlib.import_module("scripts." + module).parse_args(["--help"])
    assert "usage: scripts." + name in out.getvalue(), name
heavy = {{"torch", "fairseq", "matplotlib", "sacrebleu"}} & set(sys.modules)
assert not heavy, heavy
"""
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        (average, ["--out", "c.pt", "a.pt", "b.pt"]),
        (average, ["--last", "5", "--out", "c.pt", "folder"]),
        (average, ["folder", "--out", "c.pt", "--best", "5"]),
        (hypotheses, ["--lines", "3"]),
        (score, ["--hypotheses", "h", "--references", "r", "--source", "s", "--baseline", "b"]),
        (report, ["results/demo", "results/multi30k"]),
        (
            measure,
            ["--data-bin", "d", "--system", "a=a.pt", "--system", "b=b.pt", "--out", "o"]
            + ["--batches", "1,8", "--lines-single", "3", "--lines-batched", "9", "--repeats", "2"]
            + ["--threads", "2", "--fairseq-args", "--beam", "4"],
        ),
        (
            experiment,
            ["multi30k", "--decoders", "feedback", "--depths", "1,2", "--seeds", "1,2"]
            + [
                "--corpora",
                "c",
                "--runs-dir",
                "r",
                "--results-dir",
                "s",
                "--stages",
                "train,report",
            ]
            + ["--threads", "2", "--jobs", "1", "--device", "cpu", "--max-update", "3"]
            + ["--max-epoch", "2", "--average-last", "2", "--train-args", "--lr", "1"],
        ),
    ],
)
def test_flags_parse(module, argv) -> None:
    assert module.parse_args(argv)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_resolves(name: str) -> None:
    args = experiment.parse_args([name, "--max-update", "7", "--train-args", "--lr", "1"])
    resolved = experiment.resolve(args)
    assert resolved.training.max_update == 7
    assert resolved.training.extra[-2:] == ("--lr", "1")
    assert experiment.resolve_options(args).jobs >= 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["demo", "--decoders", "parrot"],
            "`--decoders` has `parrot`: choose among transformer, feedback",
        ),
        (["demo", "--recipes", "magic"], "`--recipes` has `magic`: choose among plain, curriculum"),
        (["demo", "--stages", "sleep"], "`--stages` has"),
        (["multi30k", "--stages", "prepare"], "experiment `multi30k` needs text"),
        (["demo", "--stages", "train"], "run the stage `prepare` first"),
    ],
)
def test_user_errors_are_one_line(argv, message, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("MEMTX_CORPORA", raising=False)
    assert experiment.main([*argv, "--runs-dir", str(tmp_path)]) == 1
    errors = [line for line in capsys.readouterr().err.split("\n") if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize("argv", [["demo", "--depths", "0"], ["demo", "--seeds", ","], ["nothing"]])
def test_impossible_values_are_refused(argv, capsys) -> None:
    with pytest.raises(SystemExit):
        experiment.parse_args(argv)
    assert "error:" in capsys.readouterr().err


def test_missing_corpus_names_the_file(tmp_path, capsys) -> None:
    argv = ["multi30k", "--stages", "prepare", "--corpora", str(tmp_path), "--runs-dir"]
    assert experiment.main([*argv, str(tmp_path / "runs")]) == 1
    assert "corpora folder holds neither" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
