"""The systems that ``scripts.studies.documents`` compares, and the commands that train them.

All have the same sizes, make as many updates of as many tokens, and begin from a model of single
sentences that was trained for the first part of them; but for the concatenation, which is trained
on pairs of sentences from the start, as is usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import shell

SENTENCES, DOCUMENTS = "memtx_translation", "memtx_document_translation"
#: Sentences of memory to which the context is cut; -1 is all.
CONTEXTS = (0, 1, 2, 5, -1)
LAST = "checkpoint_last.pt"


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        decoder: its name in `DECODERS`.
        task: fairseq's.
        parts: of all updates, which it makes: "first", "second" or "both".
        flags: of its memory.
        begins_from: the training whose weights it begins from; "" for none.
        concatenated: sentences of the data that are one, 1 for none.
    """

    decoder: str
    task: str
    parts: str
    flags: tuple[str, ...] = ()
    begins_from: str = ""
    concatenated: int = 1


@dataclass(frozen=True)
class Sizes:
    """How large the comparison is.

    Attributes:
        documents: of the sample, all splits together.
        longest: words of a sentence, at most.
        few: words of each list of the sample's lexicon, 0 for all. A language of few words and
            short sentences is learnt in fewer updates.
        first, second: updates of the two parts.
        max_tokens: of a batch.
        dim: of the models.
        layers: of encoder and decoder each.
        vocab: subwords: enough for each word of a few to be one, so that a noun is one state.
        lanes: documents that are open at once in training; few more than a batch has rows, so that
            a memory is not many updates old.
        cpu_math: of `--memtx-cpu-math`.
        unroll: sentences that gradients go back through; the Feedback decoder learns what to carry
            only with more than one.
        lr: learning rate.
        translated: documents of the validation set, and of the test set, that are translated, the
            first ones; 0 for all.
    """

    documents: int = 15000
    longest: int = 10
    few: int = 4
    first: int = 500
    second: int = 3500
    dim: int = 64
    max_tokens: int = 1000
    layers: int = 2
    vocab: int = 1800
    lanes: int = 300
    cpu_math: str = "float32"
    unroll: int = 2
    lr: str = "4e-3"
    translated: int = 200

    def updates(self, parts: str) -> int:
        """Updates of a training."""
        return {"first": self.first, "second": self.second, "both": self.first + self.second}[parts]


def _lengths(segment: int, memory: int, *more: str) -> tuple[str, ...]:
    return ("--memtx-segment-len", str(segment), "--memtx-mem-len", str(memory), *more)


# A sentence is about eight subwords: six of them are remembered; the compressive decoder has two as
# they are, and those before compressed.
_XL = _lengths(32, 48)
_COMPRESSIVE = _lengths(
    16, 16, "--memtx-cmem-len", "12", "--memtx-compression-rate", "4",
    "--memtx-compression", "mean-pool",
)  # fmt: skip
_FEEDBACK = (
    *("--memtx-memory-span", "48", "--memtx-relative-positions", "48"),
    "--no-token-positional-embeddings",
)

TRAININGS: Mapping[str, Training] = {
    "transformer-xl-first": Training("transformer-xl", SENTENCES, "first", _XL),
    "sentence": Training(
        "transformer-xl", SENTENCES, "second", _XL, begins_from="transformer-xl-first"
    ),
    "transformer-xl": Training(
        "transformer-xl", DOCUMENTS, "second", _XL, begins_from="transformer-xl-first"
    ),
    # A mean has no weights, so that it too begins from the Transformer-XL.
    "compressive": Training(
        "compressive", DOCUMENTS, "second", _COMPRESSIVE, begins_from="transformer-xl-first"
    ),
    "feedback-first": Training("feedback", SENTENCES, "first", _FEEDBACK),
    "feedback": Training("feedback", DOCUMENTS, "second", _FEEDBACK, begins_from="feedback-first"),
    "concatenated-2": Training("transformer", SENTENCES, "both", concatenated=2),
    "concatenated-3": Training("transformer", SENTENCES, "both", concatenated=3),
}
#: What is evaluated, in the order of the table.
SYSTEMS = (
    "sentence",
    "concatenated-2",
    "concatenated-3",
    "transformer-xl",
    "compressive",
    "feedback",
)


def needed(systems: tuple[str, ...]) -> list[str]:
    """The trainings of some systems, those that others begin from first."""
    wanted = {*systems, *(TRAININGS[name].begins_from for name in systems)}
    return [name for name in TRAININGS if name in wanted]


def in_order(systems: tuple[str, ...]) -> list[list[str]]:
    """The same in two parts: what begins from random weights, and what begins from those."""
    names = needed(systems)
    later = [name for name in names if TRAININGS[name].begins_from]
    return [[name for name in names if name not in later], later]


def train_command(name: str, sizes: Sizes, seed: int, data: Path, folder: Path) -> list[str]:
    """The command line of fairseq-train.

    Args:
        name: of the training.
        sizes: of the comparison.
        seed: of the training.
        data: binarised.
        folder: of all trainings.
    """
    training = TRAININGS[name]
    dim, heads = str(sizes.dim), str(max(1, sizes.dim // 16))
    words = ["fairseq-train", str(data), "--user-dir", str(shell.USER_DIR)]
    words += ["--task", training.task, "--arch", DECODERS[training.decoder].architecture]
    words += ["--save-dir", str(folder / name), *training.flags, "--share-all-embeddings"]
    if training.task == DOCUMENTS:
        words += ["--memtx-lanes", str(sizes.lanes), "--memtx-unroll", str(sizes.unroll)]
    for side in ("encoder", "decoder"):
        words += [f"--{side}-layers", str(sizes.layers), f"--{side}-embed-dim", dim]
        words += [f"--{side}-ffn-embed-dim", str(2 * sizes.dim), f"--{side}-attention-heads", heads]
        words += [f"--{side}-normalize-before"]
    if training.begins_from:
        words += ["--finetune-from-model", str(folder / training.begins_from / LAST)]
    updates = sizes.updates(training.parts)
    words += ["--dropout", "0", "--criterion", "label_smoothed_cross_entropy"]
    words += ["--label-smoothing", "0", "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"]
    words += ["--clip-norm", "1.0", "--lr", sizes.lr, *schedule(training.parts, updates)]
    words += ["--max-tokens", str(sizes.max_tokens), "--required-batch-size-multiple", "1"]
    words += ["--max-update", str(updates), "--seed", str(seed)]
    words += ["--no-epoch-checkpoints", "--no-progress-bar", "--log-format", "json", "--cpu"]
    words += ["--memtx-cpu-math", sizes.cpu_math]
    return [*words, "--log-interval", "50", "--num-workers", "0"]


def schedule(parts: str, updates: int) -> list[str]:
    """Flags of the learning rate: it falls to nothing at the end of the last part, late.

    Pronouns are learnt long after the words, and not at a small rate.
    """
    if parts == "first":
        return ["--lr-scheduler", "fixed", "--warmup-updates", "200"]
    warmup = "200" if parts == "both" else "50"
    return [
        *("--lr-scheduler", "polynomial_decay", "--power", "0.5", "--warmup-updates", warmup),
        *("--end-learning-rate", "0", "--total-num-update", str(updates)),
    ]
