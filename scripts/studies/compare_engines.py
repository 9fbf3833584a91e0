"""The same training with two engines: do they part by anything but rounding?

``python -m scripts.studies.compare_engines --data-bin DIR``

The manual engine and the plain loop find the same gradients up to rounding. Over hundreds of
updates rounding grows, as any small change of the weights does. To tell what it grows to from a
real difference, one small model is trained several times, with the same batches, the same order and
the same dropout: in float64 with both engines, where rounding has no time to grow; in float32 with
both; and in float32 with the plain loop from weights that are moved by one unit in the last place.
What is compared is the loss on the validation set, in bits for each token.

The trainings are not fairseq-train's, which computes its loss in float32 always: the loss here is
torch's cross entropy, smoothed in training, with Adam and the rate of ``inverse_sqrt``.

A comparison is one line of ``rounding.jsonl``; ``rounding.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from fairseq_memtx.ground.progress import Progress
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, read_records

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/engines")
NAME = "rounding"
RATE, WARMUP, CLIP, SMOOTHING, DROPOUT = 3e-3, 200, 1.0, 0.1, 0.2
VALID_BATCHES = 4


@dataclass(frozen=True)
class Sizes:
    """Of the model, its training and its batches.

    Attributes:
        layers: of the decoder; the encoder has one.
        dim: of model and heads' sum; the feed-forward networks have four times that.
        max_tokens: of a batch, on either side, padding included.
        updates: of each training.
        every: updates between two validations.
        seed: of batches and dropout.
    """

    layers: int
    dim: int
    max_tokens: int
    updates: int
    every: int
    seed: int


class Training(NamedTuple):
    """One of the trainings that are compared."""

    engine: str
    dtype: str
    moved: bool = False

    @property
    def name(self) -> str:
        """Its key in a record."""
        return f"{self.engine}, {self.dtype}{', moved' if self.moved else ''}"


#: Each training and the one that its losses are compared with.
PAIRS = (
    (Training("manual", "float64"), Training("reference", "float64")),
    (Training("manual", "float32"), Training("reference", "float32")),
    (Training("reference", "float32", moved=True), Training("reference", "float32")),
)
TRAININGS = list(dict.fromkeys(training for pair in PAIRS for training in pair))


class Data(NamedTuple):
    """fairseq's batches of the training and of the validation set, and the vocabulary's size."""

    train: list[dict]
    valid: list[dict]
    vocab: int


def load(data_bin: Path, max_tokens: int) -> Data:
    """All batches of the training set, and some of the validation set.

    Raises:
        UserError: the folder is none, or not of binarised data.
    """
    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    from scripts.studies.sweeps.subjects import load_dataset, spread_batches

    if not data_bin.is_dir():
        raise UserError(f"`--data-bin {data_bin}` is not a folder: name one of binarised data")
    try:
        # What the command line would fill in.
        filled = {"dataset_impl": None, "required_seq_len_multiple": 1}
        task = TranslationTask.setup_task(TranslationConfig(data=str(data_bin), **filled))
    except Exception as error:  # fairseq's own: of many kinds, some of them bare
        raise UserError(f"`--data-bin` holds no binarised data: {error}") from None
    train, valid = (load_dataset(task, data_bin, subset) for subset in ("train", "valid"))
    everything = spread_batches(train, max_tokens, len(train))
    return Data(
        everything, spread_batches(valid, max_tokens, VALID_BATCHES), len(task.target_dictionary)
    )


def order(number: int, sizes: Sizes) -> Iterator[int]:
    """Numbers of the batches of a training, each once an epoch, shuffled anew in each."""
    import numpy as np

    random, left = np.random.RandomState(sizes.seed), sizes.updates
    while left > 0:
        epoch = random.permutation(number)[:left]
        yield from epoch.tolist()
        left -= len(epoch)


def start(training: Training, sizes: Sizes, vocab: int) -> Any:
    """The model of a training, with the same weights for all of them up to the last place."""
    import torch

    from scripts.shared.contenders import Case, build

    case = Case("update", sizes.layers, sizes.dim, 0, 0, DROPOUT, vocab, encoder_layers=1)
    norms = {f"{side}_normalize_before": True for side in ("encoder", "decoder")}
    model = build(case, "memtx_feedback", memtx_engine=training.engine, **norms)
    model = model.to(getattr(torch, training.dtype))
    if training.moved:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.nextafter(torch.full_like(parameter, math.inf)))
    return model


def train(training: Training, sizes: Sizes, data: Data, progress: Progress) -> list[float]:
    """The validation losses of a training: before its first update, then every so many."""
    import torch

    model = start(training, sizes, data.vocab)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
    losses = [validate(model, data.valid)]
    for update, number in enumerate(order(len(data.train), sizes), start=1):
        torch.manual_seed(sizes.seed + update)  # of dropout
        rate = RATE * min(update / WARMUP, (WARMUP / update) ** 0.5)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss_of(model, data.train[number], smoothing=SMOOTHING).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if update % sizes.every == 0:
            losses.append(validate(model, data.valid))
        progress.add(1)
    logger.info("%s: %.6f bits at the end", training.name, losses[-1])
    return losses


def validate(model: Any, batches: Sequence[dict]) -> float:
    """Bits for each target token, without dropout."""
    import torch

    model.eval()
    with torch.no_grad():
        total = sum(float(loss_of(model, batch, reduction="sum")) for batch in batches)
    model.train()
    return total / sum(batch["ntokens"] for batch in batches) / math.log(2)


def loss_of(model: Any, batch: dict, smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    """Cross entropy in nats, in the model's precision."""
    from torch.nn.functional import cross_entropy

    logits, _ = model(**batch["net_input"])
    return cross_entropy(
        logits.flatten(0, 1), batch["target"].flatten(), ignore_index=model.decoder.padding_idx,
        label_smoothing=smoothing, reduction=reduction,
    )  # fmt: skip


def compare(data_bin: Path, sizes: Sizes, threads: int) -> dict:
    """Train them all; the record."""
    import torch

    torch.set_num_threads(threads)
    made = benchmark.provenance("compare_engines", threads)
    data = load(data_bin, sizes.max_tokens)
    with Progress("updates", len(TRAININGS) * sizes.updates, "updates") as progress:
        losses = {x.name: train(x, sizes, data, progress) for x in TRAININGS}
    facts = {"vocab": data.vocab, "batches": {"train": len(data.train), "valid": len(data.valid)}}
    return {"schema": SCHEMA, "sizes": vars(sizes), "data": facts, "bits": losses, **made}


HEADER = ("updates", "plain loop, float64", "manual", "plain loop, float32", "manual", "moved")


def table(found: Sequence[dict]) -> str:
    """The page: a section for each comparison."""
    lines = ["# Two engines in the same training", "", *EXPLANATION, ""]
    for record in found:
        sizes, data = record["sizes"], record["data"]
        lines += [
            f"## {sizes['layers']} decoder layer(s), dimension {sizes['dim']}, at most"
            f" {sizes['max_tokens']} tokens a batch, vocabulary {data['vocab']:,}",
            "", *benchmark.markdown(HEADER, list(rows(record)), words=0), "",
            f"{data['batches']['train']:,} batches an epoch, seed {sizes['seed']},"
            f" {record['threads']} thread(s), torch {record['versions'].get('torch', '?')},"
            f" {record['hardware']['cpu']}, commit {record['commit'][:12]}"
            f"{' with changes' if record['dirty'] else ''}.", "",
        ]  # fmt: skip
    return "\n".join(lines)


EXPLANATION = (
    "Validation loss of the plain loop (`--memtx-engine reference`), in bits for each token, and",
    "by how much that of other trainings with the same batches and dropout differs from it: the",
    "manual engine's in the same precision, and in float32 the plain loop's own when its starting",
    "weights are moved by one unit in the last place. Were the engines different, they would part",
    "in float64 too. More says `scripts/compare_engines.py`.",
)


def rows(record: dict) -> Iterator[list[str]]:
    """A row for each validation."""
    bits, every = record["bits"], record["sizes"]["every"]
    columns: list[list[str]] = []
    last = ""
    for one, other in PAIRS:
        if other.name != last:
            columns.append([f"{loss:.6f}" for loss in bits[other.name]])
        last = other.name
        both = zip(bits[one.name], bits[other.name], strict=True)
        columns.append([f"{a - b:+.1e}" for a, b in both])
    for number, cells in enumerate(zip(*columns, strict=True)):
        yield [str(number * every), *cells]


def run(args: argparse.Namespace) -> None:
    """Make a comparison, then the page."""
    if args.data_bin is None:
        raise UserError("give `--data-bin`, a folder of binarised data")
    sizes = Sizes(args.layers, args.dim, args.max_tokens, args.updates, args.every, args.seed)
    record = compare(args.data_bin, sizes, args.threads)
    add_record(args.out / f"{NAME}.jsonl", record, "sizes", "data")
    write_table(args.out)


def write_table(out: Path) -> None:
    """Make ``rounding.md`` from ``rounding.jsonl``."""
    write_bytes(out / f"{NAME}.md", table(read_records(out / f"{NAME}.jsonl")).encode())
    logger.info("wrote %s", out / f"{NAME}.md")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.compare_engines``."""
    parser = argparse.ArgumentParser(
        prog="scripts.studies.compare_engines", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data-bin", type=Path, metavar="DIR", help="binarised parallel text")
    for name, default, told in (
        ("layers", 2, "of the decoder"),
        ("dim", 128, "a multiple of 64"),
        ("max-tokens", 300, "of a batch"),
        ("updates", 600, "of each training"),
        ("every", 50, "updates between two validations"),
        ("seed", 1, "of batches and dropout"),
    ):
        parser.add_argument(
            f"--{name}", type=command_line.positive_int, default=default,
            help=f"{told}; default: {default}",
        )  # fmt: skip
    parser.add_argument("--threads", type=command_line.positive_int, default=1, help="default: 1")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder; default: {OUT}")
    parser.add_argument(
        "--table-only", action="store_true", help="make the table from the records there are"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.compare_engines``."""
    return benchmark.main(parse_args(argv), run, write_table)


if __name__ == "__main__":
    raise SystemExit(main())
