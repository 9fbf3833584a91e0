"""The shell pipeline: every recipe's commands are ones that fairseq takes; a tiny one is run."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

SCRIPT = CHECKOUT / "scripts" / "pipelines" / "wmt14.sh"
TINY = {
    "GPUS": "0",
    "DEPTH": "1",
    "TEACHER_DEPTH": "1",
    "UPDATES": "4",
    "UPDATE_FREQ": "1",
    "AVERAGE": "2",
    "BEAM": "2",
    "PREPARE": "sample --documents 40 --seed 7 --vocab-size 400",
    "MODEL": "--encoder-layers 1 --share-all-embeddings"
    + "".join(
        f" --{side}-embed-dim 16 --{side}-ffn-embed-dim 16 --{side}-attention-heads 2"
        for side in ("encoder", "decoder")
    ),
    "OPTIMIZER": "--optimizer adam --lr 1e-3 --max-tokens 1000",
    "SAVING": "--save-interval-updates 2",
}


def run(programs: Path, out: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT)}
    env = {**os.environ, **known, "OUT": str(out), **settings}
    command = [str(SCRIPT)]
    return subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True)


def stages(printed: str) -> dict[str, list[str]]:
    """The words of each stage's command, by its name."""
    lines = [line[4:] for line in printed.split("\n") if line.startswith("--- ")]
    named = (line.partition(": ") for line in lines)
    return {name: shlex.split(command) for name, _, command in named}


def trainings(printed: str) -> list[list[str]]:
    return [words[1:] for words in stages(printed).values() if words[0] == "fairseq-train"]


@pytest.mark.parametrize("recipe", ["plain", "curriculum", "warm", "both", "distilled"])
def test_fairseq_takes_every_recipe(recipe: str, programs: Path, tmp_path: Path) -> None:
    from fairseq import options

    import fairseq_memtx.plugin  # noqa: F401  (registers the decoders)

    printed = run(programs, tmp_path / "out", DRY="1", RECIPE=recipe).stdout
    found = trainings(printed)
    assert len(found) == (1 if recipe in ("plain", "curriculum") else 2)
    for words in found:
        args = options.parse_args_and_arch(options.get_training_parser(), words)
        assert (args.decoder_layers, args.decoder_embed_dim, args.update_freq) == (6, 512, [8])
        has_curriculum = recipe in ("curriculum", "both")
        assert (args.memtx_length_schedule == "competence") == has_curriculum
    last = options.parse_args_and_arch(options.get_training_parser(), found[-1])
    assert last.arch == "memtx_feedback"
    assert bool(last.memtx_init_from) == (recipe in ("warm", "both"))
    assert ("distil" in stages(printed)) == (recipe == "distilled")
    assert last.data.endswith("distilled/bin") == (recipe == "distilled")
    assert not (tmp_path / "out").exists()


def test_machines_and_their_gpus_are_told_to_fairseq(programs: Path, tmp_path: Path) -> None:
    several = {"GPUS": "4", "MACHINES": "2", "MASTER": "node0", "DRY": "1"}
    (words,) = trainings(run(programs, tmp_path, **several).stdout)
    given = {name: words[words.index(name) + 1] for name in words if "distributed" in name}
    assert given == {
        "--distributed-world-size": "8",
        "--distributed-rank": "0",
        "--distributed-init-method": "tcp://node0:29500",
    }
    assert words[words.index("--update-freq") + 1] == "1"
    assert "--fp16" in words and "--cpu" not in words


def test_an_unknown_recipe_is_refused(programs: Path, tmp_path: Path) -> None:
    done = run(programs, tmp_path, DRY="1", RECIPE="magic")
    assert done.returncode == 2
    assert "RECIPE is magic: choose plain, curriculum, warm, both or distilled" in done.stderr


@pytest.mark.slow
def test_a_tiny_one_runs_and_is_not_run_again(programs: Path, tmp_path: Path) -> None:
    """On the sample; a failure in the middle leaves what was done."""
    out = tmp_path / "out"
    failed = run(programs, out, **{**TINY, "AVERAGE": "no number"})
    assert failed.returncode != 0
    done = run(programs, out, **TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--- prepare: already done" in done.stdout
    assert "--- train-memtx_feedback-d1-curriculum-s1: already done" in done.stdout
    folder = out / "memtx_feedback-d1-curriculum-s1"
    scores = json.loads((folder / "score.json").read_bytes())
    assert {score["name"] for score in scores} == {"BLEU", "chrF2"}
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run(programs, out, **TINY)
    assert again.stdout.count("already done") == 5
    assert {path: path.stat().st_mtime_ns for path in written} == written
