"""Real documents: what a memory over sentences is worth there.

``python -m scripts.studies.real_documents --data DATA --start CHECKPOINT``

DATA is a preparation with documents (`memtx prepare`, or `data/` of the experiment `wmt14-mini`),
CHECKPOINT a model of single sentences on it, fairseq's Transformer or one of our decoders. Two
models begin from its weights and make as many updates: one goes on with single sentences, one with
documents, its memory carried from sentence to sentence. The test set is translated, by documents
with all context and with none; BLEU over sentences and over documents. An interrupted command goes
on when it is given once more.

Each system is one line of ``documents.jsonl``; ``documents.md`` is made from the records alone
(``--table-only``).
"""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq_memtx import checkpoints
from fairseq_memtx.checkpoints import settings
from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import command_line, processes, shell
from fairseq_memtx.ground.files import hash_of, write_json
from fairseq_memtx.ground.layout import Layout
from fairseq_memtx.ground.prepared import read_report
from fairseq_memtx.ground.stamps import Stamps, describe
from fairseq_memtx.training_log import summarise
from scripts.shared import benchmark, publishing
from scripts.shared.benchmark import add_record, markdown
from scripts.studies import documents
from scripts.studies.pronouns.configs import DOCUMENTS, LAST, SENTENCES
from scripts.studies.trainings import processor_seconds, run_counted

logger = logging.getLogger(__name__)

SCHEMA = 1
NAME = "documents"
START = "start"
TASKS = {"sentences": SENTENCES, "documents": DOCUMENTS}
#: Of the memory of each decoder that is trained, in subwords.
MEMORIES = {
    "transformer-xl": ("--memtx-segment-len", "64", "--memtx-mem-len", "128"),
    "compressive": (
        *("--memtx-segment-len", "64", "--memtx-mem-len", "64", "--memtx-cmem-len", "32"),
        *("--memtx-compression-rate", "4", "--memtx-compression", "mean-pool"),
    ),
    "feedback": (
        *("--memtx-memory-span", "128", "--memtx-relative-positions", "32"),
        "--no-token-positional-embeddings",
    ),
}
#: What the new model has of the one that it begins from.
SIZES = (
    *(f"{side}_{size}" for side in ("encoder", "decoder")
      for size in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")),
    *("dropout", "activation_fn"),
)  # fmt: skip
SWITCHES = ("encoder_normalize_before", "decoder_normalize_before", "share_all_embeddings")


class Comparison:
    """The folder of one comparison, and its stages.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.folder: Path = (args.runs_dir / f"documents-{args.name}").resolve()
        self.layout = Layout(args.data.resolve(), "en", "de")
        self.stamps = Stamps(self.folder)
        self.start = describe(args.start)["sha256"]

    def command(self, system: str) -> list[str]:
        """The command line of a training."""
        args, task = self.args, TASKS[system]
        words = ["fairseq-train", str(self.layout.bin), "--user-dir", str(shell.USER_DIR)]
        words += ["--task", task, "--arch", DECODERS[args.decoder].architecture]
        words += [*MEMORIES[args.decoder], *sizes_of(args.start)]
        words += ["--memtx-init-from", str(args.start), "--save-dir", str(self.folder / system)]
        if task == DOCUMENTS:
            words += ["--memtx-unroll", str(args.unroll)]
        words += ["--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1"]
        words += ["--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--clip-norm", "1.0"]
        words += ["--lr", args.lr, "--lr-scheduler", "polynomial_decay", "--power", "0.5"]
        words += ["--warmup-updates", "50", "--total-num-update", str(args.updates)]
        words += ["--end-learning-rate", "0", "--max-update", str(args.updates)]
        words += ["--max-tokens", str(args.max_tokens), "--seed", str(args.seed)]
        words += ["--no-epoch-checkpoints", "--no-progress-bar", "--log-format", "json", "--cpu"]
        words += ["--skip-invalid-size-inputs-valid-test", "--memtx-cpu-math", args.cpu_math]
        return [*words, "--log-interval", "50", "--num-workers", "0"]

    def train(self, system: str) -> float:
        """Do a training, or the rest of it; its processor seconds."""
        folder, command = self.folder / system, self.command(system)
        inputs = {"command": shell.shell_line(command), "start": self.start}

        def work() -> dict:
            folder.mkdir(parents=True, exist_ok=True)
            job = processes.Job(system, shell.executable(command), folder / "train.log")
            run_counted([job], 1)
            return {"processor_seconds": processor_seconds(job.log)}

        stamp = self.stamps.run(f"train-{system}", inputs, [folder / LAST], work)
        return stamp["result"]["processor_seconds"]

    def evaluate(self, system: str, context: int) -> dict:
        """BLEU over sentences and over documents; -1 is all context, 0 single sentences."""
        checkpoint = self.args.start if system == START else self.folder / system / LAST
        name = f"evaluate-{system}-{documents.told(context)}"
        result = self.folder / f"{name}.json"
        inputs = {"checkpoint": describe(checkpoint)["sha256"], "beam": self.args.beam,
                  "documents": self.args.documents}  # fmt: skip

        def work() -> dict:
            found = self._translate(checkpoint, context)
            write_json(result, found)
            return found

        return self.stamps.run(name, inputs, [result], work)["result"]

    def _translate(self, checkpoint: Path, context: int) -> dict:
        from fairseq_memtx.translator import SearchSettings, Translator

        search = SearchSettings(beam=self.args.beam, batch_size=32)
        translator = Translator.from_pretrained(checkpoint, self.layout.bin, search)
        texts, references = self.test()
        if context == 0:
            lines = iter(translator.translate(documents.flat(texts)))
            found = [[next(lines) for _ in text] for text in texts]
        else:
            found = translator.translate_documents(texts, context=context)
        return documents.bleu_of(found, references)

    def test(self) -> tuple[documents.Texts, documents.Texts]:
        """Sources and references of the test set's documents."""
        from fairseq_memtx.data.documents import read_documents

        sides = [documents.lines_of(path) for path in self.layout.references("test", False)[:2]]
        bounds = read_documents(self.layout.docids("test"), len(sides[0])).bounds.tolist()
        pairs = list(itertools.pairwise(bounds))[: self.args.documents]
        texts, references = ([side[a:b] for a, b in pairs] for side in sides)
        return texts, references

    def record(self, system: str, made: dict) -> dict:
        """The record of one system."""
        args, contexts = self.args, (-1, 0) if system == "documents" else (0,)
        training = None
        if system != START:
            seconds, log = self.train(system), summarise(self.folder / system / "train.log")
            training = {"command": shell.shell_line(self.command(system)), "updates": args.updates,
                        "valid_nll_loss": log["valid_nll_loss"],
                        "processor_seconds": seconds}  # fmt: skip
        texts, _ = self.test()
        state = checkpoints.load(args.start)
        updates = checkpoints.describe(args.start, state).updates
        return {
            "schema": SCHEMA,
            "system": system,
            "decoder": args.decoder,
            "start": {"sha256": self.start, "updates": updates,
                      "arch": settings.of(state)["model"]["arch"]},
            "data": {"sha256": hash_of(read_report(self.layout.out)["outputs"])},
            "test": {"documents": len(texts), "sentences": sum(map(len, texts))},
            "training": training,
            "beam": args.beam,
            "contexts": {documents.told(one): self.evaluate(system, one) for one in contexts},
            **made,
        }  # fmt: skip


def sizes_of(checkpoint: Path) -> list[str]:
    """The flags of a model as large as that of a checkpoint."""
    model = settings.of(checkpoints.load(checkpoint))["model"]
    words = []
    for name in SIZES:
        words += ["--" + name.replace("_", "-"), str(model[name])]
    return words + ["--" + name.replace("_", "-") for name in SWITCHES if model.get(name)]


def table(found: Sequence[dict]) -> str:
    """A row for each system and context."""
    by_name = {record["system"]: record for record in found}
    rows = []
    for record in (by_name[name] for name in (START, *TASKS) if name in by_name):
        for context, scores in record["contexts"].items():
            of = record["training"]
            loss = "" if of is None else f"{of['valid_nll_loss']:.3f}"
            bleu = [f"{scores[name]['score']:.2f}" for name in ("bleu", "document_bleu")]
            rows.append([record["system"], context, loss, *bleu])
    head = ["system", "context", "valid nll", "BLEU", "d-BLEU"]
    return "\n".join(
        ["# Real documents", "", *markdown(head, rows, words=2), "", *conditions(found), ""]
    )


def conditions(found: Sequence[dict]) -> list[str]:
    """What the numbers mean and how they were taken."""
    first = found[0]
    start, test, scores = first["start"], first["test"], next(iter(first["contexts"].values()))
    trained = [record["training"] for record in found if record["training"] is not None]
    lines = [
        f"`start` is a `{start['arch']}` of {start['updates']:,} updates on single sentences."
        f" `sentences` and `documents` are {first['decoder']} decoders that begin from its weights;"
        " the first goes on with single sentences, the second with documents, its memory carried"
        " from sentence to sentence. Context: sentences before a sentence that its memory is made"
        " of.",
        f"Test set: {test['sentences']:,} sentences in {test['documents']:,} documents, beam"
        f" {first['beam']}. BLEU `{scores['bleu']['signature']}` over lines, d-BLEU the same over"
        " documents, each joined to one line. One seed: a few tenths are no difference.",
    ]
    for name, of in zip((r["system"] for r in found if r["training"]), trained, strict=True):
        lines.append(f"{name}: {of['updates']:,} updates, {of['processor_seconds'] / 60:.1f}"
                     f" processor minutes: `{of['command']}`")  # fmt: skip
    return [f"- {line}" for line in [*lines, f"{benchmark.conditions(first)}."]]


def measure_all(args: argparse.Namespace) -> None:
    """Train and translate."""
    publishing.check_checkout(args.out)
    made: dict[str, Any] = benchmark.provenance("studies.real_documents", threads=1)
    comparison = Comparison(args)
    for system in (START, *TASKS):
        add_record(args.out / f"{NAME}.jsonl", comparison.record(system, made), "system")


def run(args: argparse.Namespace) -> None:
    """Measure unless the records there are shall do, then make the page."""
    if not args.table_only:
        measure_all(args)
    benchmark.write_page(args.out, NAME, table)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.real_documents``."""
    whole = command_line.positive_int
    parser = argparse.ArgumentParser(
        prog="scripts.studies.real_documents", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--data", type=Path, default=Path("runs/wmt14-mini/data"), help="prepared, with documents")
    add("--start", type=Path, help="checkpoint of a model of single sentences")
    add("--name", default="wmt14-mini", help="of the data, in the folders' names")
    add("--decoder", choices=MEMORIES, default="transformer-xl")
    add("--updates", type=whole, default=1000)
    add("--unroll", type=whole, default=1, help="sentences that gradients go back through")
    add("--max-tokens", type=whole, default=2500)
    add("--lr", default="1e-3")
    add("--cpu-math", choices=("torch", "float32", "bfloat16"), default="bfloat16")
    add("--documents", type=whole, help="of the test set, the first ones (default: all)")
    add("--beam", type=whole, default=4)
    add("--seed", type=whole, default=1)
    add("--runs-dir", type=Path, default=Path("runs"))
    add("--out", type=Path, help="folder; default: results/documents-NAME")
    add("--table-only", action="store_true", help="make the page from the records there are")
    args = parser.parse_args(argv)
    if args.start is None and not args.table_only:
        parser.error("the following arguments are required: --start")
    args.out = args.out or Path("results") / f"documents-{args.name}"
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.real_documents``."""
    args = parse_args(argv)
    return command_line.run(lambda: run(args))


if __name__ == "__main__":
    raise SystemExit(main())
