"""The language models that ``scripts.studies.char_lm`` compares: sizes, training and evaluations.

There are two experiments: the decoders, and the Feedback decoder's memories. All models of one read
the same characters in blocks of `BLOCK`, make as many updates and have as many parameters: what a
memory costs or saves is made up for by the feed-forward dimension. In training no position attends
to more than `BLOCK` entries, memories included.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import shell
from scripts.experiment.configs import Data, Experiment, Model, Training

TEXT = "tinyshakespeare/input.txt"
BLOCK, ROWS = 64, 32
DEPTH = 3
SEGMENT = 16

STOCK_TASK, TASK = "language_modeling", "memtx_language_modeling"


@dataclass(frozen=True)
class Evaluation:
    """One way to score the test set.

    Attributes:
        name: the column of the table.
        task: fairseq's, of blocks that stand alone, or ours, of a text with carried memory.
        flags: further flags of ``fairseq-eval-lm``.
        context: what a scored character sees at least and at most, in words.
    """

    name: str
    task: str
    context: str
    flags: tuple[str, ...] = ()


def alone(context: str = f"0-{BLOCK - 1} characters of its block") -> Evaluation:
    """Blocks of which each begins with nothing."""
    return Evaluation("alone", STOCK_TASK, context, ("--batch-size", str(ROWS)))


def carried(name: str, context: str, **overrides: int) -> Evaluation:
    """The text in order, in one row, with memory carried from block to block."""
    flags = ["--batch-size", "1"]
    if overrides:
        flags += ["--model-overrides", str({f"memtx_{k}": v for k, v in overrides.items()})]
    return Evaluation(name, TASK, context, tuple(flags))


@dataclass(frozen=True)
class CharModel:
    """One model.

    Attributes:
        decoder: its name in `DECODERS`.
        ffn_dim: of the feed-forward networks, chosen so that all models have as many parameters.
        task: which it trains with.
        flags: of its memory.
        reach: what a position can attend to in training, in words.
        evaluations: how it is scored.
    """

    decoder: str
    ffn_dim: int
    task: str
    reach: str
    flags: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = field(default=())

    @property
    def arch(self) -> str:
        """fairseq's name of it."""
        return DECODERS[self.decoder].language_model

    @property
    def criterion(self) -> tuple[str, ...]:
        """Without label smoothing these are cross entropy and, with it, the compression's loss."""
        learns = "mean-pool" not in self.flags
        name = DECODERS[self.decoder if learns else "transformer"].criterion
        return ("--criterion", name, "--label-smoothing", "0")


_WINDOW = 48
_CMEM, _RATE = 16, 4
_COMPRESSIVE = (
    *("--memtx-segment-len", str(SEGMENT), "--memtx-mem-len", str(2 * SEGMENT)),
    *("--memtx-cmem-len", str(_CMEM), "--memtx-compression-rate", str(_RATE)),
)
_COMPRESSIVE_REACH = (
    f"its segment of {SEGMENT}, {2 * SEGMENT} before it, {_CMEM} compressed from"
    f" {_CMEM * _RATE} more"
)
_COMPRESSIVE_EVALUATIONS = (
    alone(),
    carried("in order", _COMPRESSIVE_REACH),
    carried(
        "longer",
        f"its segment, {5 * SEGMENT} before it, {2 * _CMEM} compressed from {2 * _CMEM * _RATE}",
        mem_len=5 * SEGMENT,
        cmem_len=2 * _CMEM,
    ),
)

_FEEDBACK = (
    *("--memtx-memory-span", str(BLOCK), "--memtx-relative-positions", str(BLOCK)),
    "--no-token-positional-embeddings",
)


def memory(ffn_dim: int, what: str, *flags: str) -> CharModel:
    """A Feedback decoder with another memory: in words, and by flags."""
    reach = f"{BLOCK} positions before it, of each {what}"
    return CharModel("feedback", ffn_dim, TASK, reach, (*_FEEDBACK, *flags), (alone(),))


_ROUTED = ("--memtx-memory-mixture", "routed")
_CHANNELS = ("--memtx-memory-channels", "2")

DECODERS_COMPARED = {
    "transformer": CharModel(
        "transformer",
        512,
        STOCK_TASK,
        f"{BLOCK} positions of its block",
        evaluations=(
            alone(),
            Evaluation(
                "in order",
                STOCK_TASK,
                f"{_WINDOW}-{BLOCK - 1} characters",
                ("--batch-size", str(ROWS), "--context-window", str(_WINDOW)),
            ),
        ),
    ),
    "transformer-xl": CharModel(
        "transformer-xl",
        448,
        TASK,
        f"its segment of {SEGMENT}, {3 * SEGMENT} before it",
        ("--memtx-segment-len", str(SEGMENT), "--memtx-mem-len", str(3 * SEGMENT)),
        (
            alone(),
            carried("in order", f"its segment, {3 * SEGMENT} before it"),
            carried("longer", f"its segment, {7 * SEGMENT} before it", mem_len=7 * SEGMENT),
        ),
    ),
    "compressive": CharModel(
        "compressive", 192, TASK, _COMPRESSIVE_REACH, _COMPRESSIVE,
        _COMPRESSIVE_EVALUATIONS,
    ),
    "compressive-mean": CharModel(
        "compressive", 448, TASK, _COMPRESSIVE_REACH,
        (*_COMPRESSIVE, "--memtx-compression", "mean-pool"), _COMPRESSIVE_EVALUATIONS,
    ),
    "feedback": CharModel(
        "feedback", 594, TASK, f"{BLOCK} positions before it", _FEEDBACK,
        (alone(), carried("in order", f"{BLOCK} positions before it")),
    ),
}  # fmt: skip

MEMORIES = {
    "softmax": memory(594, "one memory, the same mixture at all"),
    "routed": memory(591, "one memory, its mixture routed", *_ROUTED),
    "channels": memory(551, "two memories", *_CHANNELS),
    "routed-channels": memory(546, "two memories, their mixtures routed", *_ROUTED, *_CHANNELS),
}

EXPERIMENT = Experiment(
    name="tinyshakespeare",
    summary="characters of Tiny Shakespeare, language models of equal size",
    data=Data("characters", vocab_size=0, train=(TEXT,)),
    model=Model(
        encoder_layers=0, embed_dim=128, ffn_dim=512, heads=4, dropout=0.1, segment_len=SEGMENT
    ),
    training=Training(
        max_tokens=BLOCK * ROWS,
        lr=2e-3,
        warmup_updates=100,
        max_update=800,
        clip_norm=0.25,
        label_smoothing=0.0,
        save_interval_updates=200,
    ),
    decoders=tuple(DECODERS_COMPARED),
    depths=(DEPTH,),
)

EXPERIMENTS = {
    "decoders": EXPERIMENT,
    "memories": replace(
        EXPERIMENT,
        name="tinyshakespeare-memories",
        summary="memories of the Feedback decoder on characters of Tiny Shakespeare, equal size",
        training=replace(EXPERIMENT.training, max_update=200),
        decoders=tuple(MEMORIES),
    ),
}

MODELS = {**DECODERS_COMPARED, **MEMORIES}


def train_command(
    model: CharModel, experiment: Experiment, data_bin: Path, save_dir: Path, seed: int
) -> list[str]:
    """``fairseq-train`` for one model; the same line starts it and resumes it."""
    sizes, training = experiment.model, experiment.training
    command = [*_common("fairseq-train", model.task, data_bin), "--arch", model.arch]
    command += ["--decoder-layers", str(DEPTH), "--decoder-normalize-before"]
    for name in ("embed", "input", "output"):
        command += [f"--decoder-{name}-dim", str(sizes.embed_dim)]
    command += ["--decoder-ffn-embed-dim", str(model.ffn_dim)]
    command += ["--decoder-attention-heads", str(sizes.heads)]
    command += ["--share-decoder-input-output-embed", "--dropout", str(sizes.dropout)]
    command += [*model.flags, "--batch-size", str(ROWS), *model.criterion]
    command += ["--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"]
    command += ["--clip-norm", str(training.clip_norm), "--lr", str(training.lr)]
    command += ["--lr-scheduler", "cosine", "--warmup-updates", str(training.warmup_updates)]
    command += ["--max-update", str(training.max_update), "--no-epoch-checkpoints"]
    command += ["--save-interval-updates", str(training.save_interval_updates)]
    command += ["--keep-interval-updates", "1", "--log-format", "json"]
    command += ["--log-interval", str(training.log_interval), "--num-workers", "0"]
    return [*command, "--save-dir", str(save_dir), "--seed", str(seed), *training.extra]


def evaluate_command(evaluation: Evaluation, data_bin: Path, checkpoint: Path) -> list[str]:
    """``fairseq-eval-lm`` on the test set."""
    command = _common("fairseq-eval-lm", evaluation.task, data_bin)
    return [*command, "--path", str(checkpoint), "--gen-subset", "test", *evaluation.flags]


def _common(program: str, task: str, data_bin: Path) -> list[str]:
    command = [program, str(data_bin), "--user-dir", str(shell.USER_DIR), "--task", task]
    return [*command, "--tokens-per-sample", str(BLOCK), "--cpu", "--no-progress-bar"]
