"""What ``scripts.studies.state_tracking`` compares: decoders, sizes, data and training.

All read the same programs as one text in rows, in blocks of `BLOCK` words, make as many updates and
have one width; the depth varies. A curriculum is a text of short programs before the whole ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import shell
from scripts.experiment.configs import Data, Experiment, Model, Training

TASK = "memtx_labelled_stream"
BLOCK, ROWS, SPAN = 64, 64, 48
STATEMENTS = 100
#: Programs for validation and test.
HELD_OUT = (100, 1000)
PLAIN, CURRICULUM = "plain", "curriculum"
RECIPES = (PLAIN, CURRICULUM)


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Attributes:
        statements: of each program.
        programs: so many are read, once each, before the next stage begins.
    """

    statements: int
    programs: int


WHOLE = Stage(STATEMENTS, 10_000)
#: What comes before the whole programs, by recipe.
SHORT_FIRST = {PLAIN: (), CURRICULUM: (Stage(4, 100_000), Stage(10, 100_000), Stage(30, 40_000))}


@dataclass(frozen=True)
class System:
    """A decoder as it is used here.

    Attributes:
        decoder: its name in `DECODERS`.
        meaning: what a position sees, for a table.
        flags: of its memory.
    """

    decoder: str
    meaning: str
    flags: tuple[str, ...] = ()


SYSTEMS = {
    "transformer": System(
        "transformer", f"the positions of its block of {BLOCK} words before it, and nothing else"
    ),
    "transformer-carried": System(
        "transformer-xl",
        f"its block and, layer by layer, the states of the {SPAN} positions before it, by learned"
        " keys of distances: the authors' Transformer",
        (
            *("--memtx-segment-len", str(BLOCK), "--memtx-mem-len", str(SPAN)),
            *("--memtx-position-keys", "learned", "--memtx-max-distance", str(BLOCK + SPAN)),
        ),
    ),
    "transformer-xl": System(
        "transformer-xl",
        f"the same, by Transformer-XL's four terms, in segments of {BLOCK // 2}",
        ("--memtx-segment-len", str(BLOCK // 2), "--memtx-mem-len", str(SPAN)),
    ),
    "compressive": System(
        "compressive",
        f"its segment of {BLOCK // 2}, {SPAN - 16} positions before it, 16 states compressed from"
        " 64 more",
        (
            *("--memtx-segment-len", str(BLOCK // 2), "--memtx-mem-len", str(SPAN - 16)),
            *("--memtx-cmem-len", "16", "--memtx-compression-rate", "4"),
        ),
    ),
    "feedback": System(
        "feedback",
        f"the memories of the {SPAN} positions before it, by learned keys of distances",
        (
            *("--memtx-memory-span", str(SPAN), "--memtx-relative-positions", str(SPAN)),
            "--no-token-positional-embeddings",
        ),
    ),
}  # fmt: skip


def experiment_of(variables: int) -> Experiment:
    """The experiment with programs over so many variables."""
    return Experiment(
        name=f"state-tracking-{variables}",
        summary=f"printed values of programs over {variables} variables",
        data=Data("programs", vocab_size=0),
        model=Model(encoder_layers=0, embed_dim=64, ffn_dim=128, heads=2, dropout=0.0),
        training=Training(
            max_tokens=BLOCK * ROWS,
            lr=3e-3,
            warmup_updates=100,
            max_update=4000,
            clip_norm=0.5,
            label_smoothing=0.0,
            save_interval_updates=500,
            cpu_math="float32",
        ),
        decoders=tuple(SYSTEMS),
        depths=(1, 2, 4),
    )


def stages_of(recipe: str) -> tuple[Stage, ...]:
    """The stages of a training, in order; the last is repeated until the last update."""
    return (*SHORT_FIRST[recipe], WHOLE)


def most_epochs(updates: int) -> int:
    """At most so many passes over the whole programs are begun by so many updates."""
    words_of_a_statement = 4  # 4.3 on average
    return updates * ROWS * BLOCK // (WHOLE.programs * STATEMENTS * words_of_a_statement) + 1


def prepare_command(out: Path, stage: Stage, variables: int) -> list[str]:
    """``memtx prepare programs`` for a stage: its own programs for training, whole ones beside."""
    counts = [str(count) for count in (stage.programs, *HELD_OUT)]
    return [
        *("memtx", "prepare", "programs", "--out", str(out), "--variables", str(variables)),
        *("--statements", str(STATEMENTS), "--train-statements", str(stage.statements)),
        *("--programs", *counts),
    ]


def train_command(
    system: System,
    experiment: Experiment,
    depth: int,
    data: Sequence[Path],
    save_dir: Path,
    seed: int,
) -> list[str]:
    """``fairseq-train`` for one model; the same line starts it and resumes it.

    Args:
        data: a folder of binarised data for each epoch.
    """
    sizes, training = experiment.model, experiment.training
    entry = DECODERS[system.decoder]
    command = ["fairseq-train", ":".join(map(str, data)), "--user-dir", str(shell.USER_DIR)]
    command += ["--task", TASK, "--tokens-per-sample", str(BLOCK), "--batch-size", str(ROWS)]
    command += ["--arch", entry.language_model, "--decoder-layers", str(depth)]
    for name in ("embed", "input", "output"):
        command += [f"--decoder-{name}-dim", str(sizes.embed_dim)]
    command += ["--decoder-ffn-embed-dim", str(sizes.ffn_dim)]
    command += ["--decoder-attention-heads", str(sizes.heads), "--decoder-normalize-before"]
    command += ["--dropout", str(sizes.dropout), *system.flags]
    command += ["--criterion", entry.criterion, "--label-smoothing", "0", "--report-accuracy"]
    command += ["--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"]
    command += ["--clip-norm", str(training.clip_norm), "--lr", str(training.lr)]
    command += ["--lr-scheduler", "cosine", "--warmup-updates", str(training.warmup_updates)]
    command += ["--max-update", str(training.max_update), "--no-epoch-checkpoints"]
    command += ["--save-interval-updates", str(training.save_interval_updates)]
    command += ["--keep-interval-updates", "1", "--log-format", "json", "--cpu"]
    command += ["--log-interval", str(training.log_interval), "--num-workers", "0"]
    command += ["--no-progress-bar", "--memtx-cpu-math", training.cpu_math]
    return [*command, "--save-dir", str(save_dir), "--seed", str(seed), *training.extra]
