"""The Snakemake workflow, where Snakemake is installed: what it would do, and a tiny run."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

SNAKEMAKE = shutil.which("snakemake")
pytestmark = pytest.mark.skipif(SNAKEMAKE is None, reason="Snakemake is not installed")

MODEL = "--encoder-layers 1 --share-all-embeddings" + "".join(
    f" --{side}-embed-dim 16 --{side}-ffn-embed-dim 16 --{side}-attention-heads 2"
    for side in ("encoder", "decoder")
)
TINY = {
    "prepare": "sample --documents 40 --seed 7 --vocab-size 400",
    "model": MODEL,
    "training": "--optimizer adam --lr 1e-3 --max-tokens 200 --max-update 4"
    " --save-interval-updates 2",
    "device": "--cpu",
    "average": "2",
    "beam": "2",
}


def run(programs: Path, out: Path, *flags: str, **values: str) -> subprocess.CompletedProcess:
    assert SNAKEMAKE is not None
    config = [f"{name}={value}" for name, value in {"out": str(out), **values}.items()]
    line = [SNAKEMAKE, "-s", "scripts/pipelines/Snakefile", "-c", "1", "--nolock", *flags]
    paths = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [*line, "--config", *config],
        cwd=CHECKOUT,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
    )


def test_fairseq_takes_every_training(programs: Path, tmp_path: Path) -> None:
    from fairseq import options

    import fairseq_memtx.plugin  # noqa: F401  (registers the decoders)

    done = run(programs, tmp_path / "out", "-n", "-p", depths="1,6", seeds="1,2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line.strip() for line in done.stdout.split("\n") if "fairseq-train" in line]
    assert len(found) == 8
    for line in found:
        line = line[line.index("fairseq-train") :].partition(" >> ")[0]
        words = shlex.split(line.replace("$(memtx user-dir)", "fairseq_memtx"))
        args = options.parse_args_and_arch(options.get_training_parser(), words[1:])
        assert args.decoder_layers in (1, 6) and args.decoder_embed_dim == 512
        assert args.memtx_length_schedule == "competence"
    assert not (tmp_path / "out").exists()


def test_an_unknown_value_is_refused(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path, "-n", decoder="transformer")
    assert done.returncode != 0
    assert "--config decoder is not known: choose among out, prepare" in done.stdout + done.stderr


def test_comet_is_asked_for_where_a_model_is_named(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path / "out", "-n", "-p", depths="1", comet="model.ckpt")
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line for line in done.stdout.split("\n") if "memtx score" in line]
    source = f"--comet model.ckpt --source {tmp_path / 'out'}/data/refs/test.en"
    assert len(found) == 2 and all(source in line for line in found)


@pytest.mark.slow
def test_a_tiny_one_ends_with_a_table(programs: Path, tmp_path: Path) -> None:
    """On the sample; after a failure in the middle the training goes on where it was."""
    out = tmp_path / "out"
    values = {**TINY, "average": "none", "decoders": "memtx_feedback"}
    failed = run(programs, out, **values, depths="1")
    assert failed.returncode != 0
    checkpoint = out / "memtx_feedback-d1-s1" / "checkpoints" / "checkpoint_last.pt"
    written = checkpoint.stat().st_mtime_ns
    done = run(programs, out, **TINY, depths="1")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (out / "table.tsv").read_text("utf-8").split("\n")
    assert rows[0] == "run\tBLEU\tchrF\tchrF++"
    assert [row.split("\t")[0] for row in rows[1:3]] == [
        "transformer-d1-s1",
        "memtx_feedback-d1-s1",
    ]
    assert checkpoint.stat().st_mtime_ns == written
    again = run(programs, out, **TINY, depths="1")
    assert "Nothing to be done" in again.stdout + again.stderr
