"""Pronouns that refer back, with and without memory: ``python -m scripts.studies.documents``.

Trains translation models of the sample corpus on single sentences, on two sentences as one, and
with the decoder's memory carried over documents; translates the held-out documents (validation and
test, of which no checkpoint is chosen) and looks at the pronouns whose gender only an earlier
sentence tells, by its distance; and cuts the memory to its last sentences. A record of each system
and a table are written. What is done is not done again, and a training that was interrupted goes
on.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.cli import main as prepare_data
from data_prep.sample import corpus, pronouns
from fairseq_memtx.commands.score import score
from fairseq_memtx.ground import command_line, processes, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of, write_json
from fairseq_memtx.ground.prepared import read_report
from fairseq_memtx.ground.stamps import Stamps, describe
from fairseq_memtx.ground.versions import versions
from fairseq_memtx.training_log import summarise
from scripts.shared import provenance, publishing
from scripts.shared.report import report
from scripts.studies.pronouns.configs import (
    CONTEXTS,
    DOCUMENTS,
    LAST,
    SYSTEMS,
    TRAININGS,
    Sizes,
    in_order,
    needed,
    train_command,
)
from scripts.studies.trainings import processor_seconds, run_counted

if TYPE_CHECKING:
    from fairseq_memtx.translator import Translator

logger = logging.getLogger(__name__)

SCHEMA = 1
NAME = "documents-sample"
HELD_OUT = ("valid", "test")

#: The lines of each document, the pronouns of each line (from 1) of all of them together.
Texts = list[list[str]]
Records = dict[int, list[pronouns.Record]]


class Study:
    """The folder of one comparison, and its stages.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace):
        self.sizes = Sizes(
            documents=args.documents,
            longest=args.longest,
            few=args.few,
            first=args.first_updates,
            second=args.second_updates,
            dim=args.dim,
            vocab=args.vocab_size,
            cpu_math=args.cpu_math,
            unroll=args.unroll,
            lr=args.lr,
            translated=args.translated,
        )
        self.seed, self.beam, self.systems = args.seed, args.beam, args.systems
        self.contexts, self.jobs = args.contexts, args.jobs
        self.folder = (args.runs_dir / NAME).resolve()
        self.text, self.data = self.folder / "text", self.folder / "data"
        self.trainings = self.folder / "trainings"
        self.place = args.results_dir / NAME
        self.words = args.words

    def prepare(self) -> None:
        """Write the sample and binarise it, whole documents kept."""
        sizes, seed = self.sizes, corpus.DEFAULT_SEED
        limits = corpus.Limits(sizes.longest, sizes.few)
        asked = {"documents": sizes.documents, "seed": seed, **limits.told}
        outputs = [self.text / f"{split}.en" for split in corpus.SPLITS]

        def write() -> dict:
            corpus.generate(self.text, seed, sizes.documents, limits=limits)
            return asked

        Stamps(self.folder).run("text", asked, outputs, write)
        words = ["parallel", "--out", str(self.data), "--source-lang", "en", "--target-lang", "de"]
        for split in corpus.SPLITS:
            words += [f"--{split}", str(self.text / split)]
        words += ["--vocab-size", str(self.sizes.vocab), "--duplicates", "keep", "--workers", "1"]
        if prepare_data(words) != 0:
            raise UserError("preparing the sample failed, see above")

    def data_of(self, name: str) -> Path:
        """The binarised data of a training, made where it is missing."""
        from scripts.studies.pronouns import concatenated

        k = TRAININGS[name].concatenated
        if k == 1:
            return self.data / "bin"
        out = self.folder / f"concatenated-{k}"
        inputs = {"data": hash_of(read_report(self.data)["outputs"]), "k": k}
        outputs = [out / "bin" / f"{split}.en-de.{lang}.idx" for split in corpus.SPLITS
                   for lang in ("en", "de")]  # fmt: skip
        Stamps(self.folder).run(
            f"concatenated-{k}", inputs, outputs,
            lambda: {"bin": str(concatenated.concatenate(self.data, out, k).name)},
        )  # fmt: skip
        return out / "bin"

    def command(self, name: str) -> list[str]:
        """The command line of a training."""
        return train_command(name, self.sizes, self.seed, self.data_of(name), self.trainings)

    def train(self, names: Sequence[str]) -> None:
        """Do some trainings, or the rest of them, side by side."""
        stamps, inputs = Stamps(self.folder), {name: self.inputs(name) for name in names}
        missing = [name for name in names if not stamps.is_done(stage(name), inputs[name])]
        jobs = {name: self._job(name) for name in missing}
        run_counted(list(jobs.values()), self.jobs)
        for name, job in jobs.items():
            spent: partial[dict] = partial(dict, processor_seconds=processor_seconds(job.log))
            stamps.run(stage(name), inputs[name], [self.trainings / name / LAST], spent)

    def inputs(self, name: str) -> dict:
        """All that a training depends on; what it begins from is there."""
        inputs = {"command": shell.shell_line(self.command(name))}
        begins_from = TRAININGS[name].begins_from
        if begins_from:
            inputs["begins_from"] = describe(self.trainings / begins_from / LAST)["sha256"]
        return inputs

    def _job(self, name: str) -> processes.Job:
        (self.trainings / name).mkdir(parents=True, exist_ok=True)
        return processes.Job(name, shell.executable(self.command(name)), self.log(name))

    def spent(self, name: str) -> float:
        """Processor seconds of a training that is done."""

        def missing() -> dict:
            raise UserError(f"the training {name} is missing")

        stamp = Stamps(self.folder).run(
            stage(name), self.inputs(name), [self.trainings / name / LAST], missing
        )
        return stamp["result"]["processor_seconds"]

    def log(self, name: str) -> Path:
        """What a training printed."""
        return self.trainings / name / "train.log"

    def evaluate(self, name: str) -> dict:
        """Translate the held-out documents in all ways; what became of that, by context."""
        contexts = self.contexts if TRAININGS[name].task == DOCUMENTS else (-1,)
        return {told(one): self._evaluate(name, one) for one in contexts}

    def _evaluate(self, name: str, context: int) -> dict:
        checkpoint = self.trainings / name / LAST
        stage_name = f"evaluate-{name}-{told(context)}"
        result = self.folder / f"{stage_name}.json"
        inputs = {"checkpoint": describe(checkpoint)["sha256"], "beam": self.beam,
                  "translated": self.sizes.translated}  # fmt: skip

        def work() -> dict:
            found = self._translate(name, checkpoint, context)
            write_json(result, found)
            return found

        return Stamps(self.folder).run(stage_name, inputs, [result], work)["result"]

    def _translate(self, name: str, checkpoint: Path, context: int) -> dict:
        from fairseq_memtx.translator import SearchSettings, Translator
        from scripts.studies.pronouns import concatenated

        search = SearchSettings(beam=self.beam, max_len_a=1.5, batch_size=32)
        translator = Translator.from_pretrained(checkpoint, search=search)
        texts, references, records = held_out(self.text, self.sizes.translated)
        training = TRAININGS[name]
        if training.task == DOCUMENTS:
            found = translator.translate_documents(texts, context=context)
        elif training.concatenated > 1:
            found = concatenated.translate(translator, texts, training.concatenated)
        else:
            lines = iter(translator.translate([line for lines in texts for line in lines]))
            found = [[next(lines) for _ in lines_of] for lines_of in texts]
        scores = scores_of(found, references, records)
        if training.concatenated == 1:
            one = context if training.task == DOCUMENTS else 0
            scores["contrastive"] = contrastive(translator, texts, references, records, one)
        right = scores["pronouns"]["context"]
        logger.info("%s, context %s: BLEU %.2f, pronouns %d of %d", name, told(context),
                    scores["bleu"]["score"], right["right"], right["pronouns"])  # fmt: skip
        return scores

    def record(self, name: str) -> dict:
        """The record of one system."""
        commit, dirty = provenance.git_state()
        trained = needed((name,))
        summary = summarise(self.log(name))
        return {
            "schema": SCHEMA,
            "experiment": NAME,
            "system": name,
            "seed": self.seed,
            "commit": commit,
            "dirty": dirty,
            "commands": {
                "documents": shell.shell_line(
                    ["python", "-m", "scripts.studies.documents", *self.words]
                ),
                "train": {one: shell.shell_line(self.command(one)) for one in trained},
            },
            "versions": versions(),
            "hardware": provenance.hardware("cpu"),
            "threads": 1,
            "sizes": dataclasses.asdict(self.sizes),
            "beam": self.beam,
            "data": {"sha256": hash_of(read_report(self.data)["outputs"])},
            "parameters": summary["parameters"],
            "training": {
                "updates": [self.sizes.updates(TRAININGS[one].parts) for one in trained],
                "valid_nll_loss": summary["valid_nll_loss"],
                "processor_seconds": [self.spent(one) for one in trained],
            },
            "references": self.references(),
            "contexts": self.evaluate(name),
        }

    def references(self) -> dict:
        """What the references' own pronouns score, which is not all: see `pronouns.is_right`."""
        _, references, records = held_out(self.text, self.sizes.translated)
        return pronouns.accuracy(flat(references), records)


def stage(name: str) -> str:
    """The name of a training's stamp."""
    return f"train-{name}"


def told(context: int) -> str:
    """How a context is called in records."""
    return "all" if context < 0 else str(context)


def held_out(text: Path, most: int = 0) -> tuple[Texts, Texts, Records]:
    """Sources, references and pronouns of the held-out documents.

    Args:
        text: the sample's folder.
        most: so many documents of each of the sets, the first ones; 0 for all.
    """
    texts: Texts = []
    references: Texts = []
    records: Records = {}
    lines = 0
    for split in HELD_OUT:
        sides = [lines_of(text / f"{split}.{kind}") for kind in ("en", "de", "docid")]
        sizes = list(Counter(sides[2]).values())[: most or None]
        for number, line_records in pronouns.read_records(text / f"{split}.pronouns").items():
            if number <= sum(sizes):
                records[lines + number] = line_records
        lines += sum(sizes)
        english, german = iter(sides[0]), iter(sides[1])
        texts += [[next(english) for _ in range(size)] for size in sizes]
        references += [[next(german) for _ in range(size)] for size in sizes]
    return texts, references, records


def lines_of(path: Path) -> list[str]:
    """The lines of a file."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def scores_of(found: Texts, references: Texts, records: Records) -> dict:
    """BLEU by sentences and by documents, and the pronouns that are right, by distance."""
    return {**bleu_of(found, references), "pronouns": pronouns.accuracy(flat(found), records)}


def bleu_of(found: Texts, references: Texts) -> dict:
    """BLEU by sentences and by documents."""
    return {
        "bleu": score(flat(found), flat(references))["bleu"],
        "document_bleu": score(whole(found), whole(references))["bleu"],
    }


def contrastive(
    translator: Translator, texts: Texts, references: Texts, records: Records, context: int
) -> dict:
    """How often the reference is likelier than with pronouns of another gender, by distance.

    Counted are lines, by the furthest antecedent of their pronouns; the memory is that of the
    references.
    """
    given = []
    for line, reference in enumerate(flat(references), 1):
        wrong = pronouns.contrasts(reference, records[line]) if line in records else []
        given.append([reference, *wrong])
    coming = iter(given)
    by_line = translator.score_documents(
        texts, [[next(coming) for _ in lines] for lines in texts], context
    )
    counts: dict[str, dict] = {}
    for line, scores in enumerate([scores for lines in by_line for scores in lines], 1):
        if len(scores) > 1:
            distance = max(int(record["distance"]) for record in records[line])
            for name in [str(distance), *(["context"] if distance > 0 else [])]:
                count = counts.setdefault(name, {"pronouns": 0, "right": 0})
                count["pronouns"] += 1
                count["right"] += scores[0] > max(scores[1:])
    return counts


def flat(texts: Texts) -> list[str]:
    """The lines of all documents, one after the other."""
    return [line for lines in texts for line in lines]


def whole(texts: Texts) -> list[str]:
    """Each document as one line."""
    return [" ".join(lines) for lines in texts]


def compare(args: argparse.Namespace) -> None:
    """Prepare, train, evaluate, record and report."""
    unknown = [name for name in args.systems if name not in SYSTEMS]
    if unknown:
        raise UserError(f"`--systems` has `{unknown[0]}`: choose among {', '.join(SYSTEMS)}")
    study = Study(args)
    publishing.check_checkout(study.place)
    study.prepare()
    for names in in_order(study.systems):
        study.train(names)
    for name in study.systems:
        write_json(study.place / "records" / f"{name}.json", study.record(name))
    show(report(study.place))


def show(pages: Iterable[Path]) -> None:
    """Print the pages among what was written."""
    for page in pages:
        if page.suffix == ".md":
            sys.stdout.write(page.read_text(encoding="utf-8"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.documents``."""
    whole_number, names = command_line.positive_int, command_line.comma_list
    sizes = Sizes()
    parser = argparse.ArgumentParser(
        prog="scripts.studies.documents", description=__doc__.split("\n")[0]
    )
    add = parser.add_argument
    add("--systems", type=names, default=SYSTEMS, help="some of: " + ",".join(SYSTEMS))
    add("--documents", type=whole_number, default=sizes.documents, help="of the sample")
    add("--translated", type=int, default=sizes.translated,
        help="documents of validation and of test set each, the first ones; 0: all")  # fmt: skip
    add("--longest", type=whole_number, default=sizes.longest, help="words of a sentence, at most")
    add("--few", type=int, default=sizes.few, help="words of each list of its lexicon; 0: all")
    add("--vocab-size", type=whole_number, default=sizes.vocab, help="subwords")
    add("--dim", type=whole_number, default=sizes.dim, help="of the models")
    add("--cpu-math", choices=("torch", "float32", "bfloat16"), default=sizes.cpu_math)
    add("--unroll", type=whole_number, default=sizes.unroll, help="sentences of a gradient")
    add("--lr", default=sizes.lr, help="learning rate")
    add("--first-updates", type=whole_number, default=sizes.first, help="on single sentences")
    add("--second-updates", type=whole_number, default=sizes.second, help="after these")
    add("--contexts", type=contexts, default=CONTEXTS, help="sentences of memory: 0,1,all")
    add("--jobs", type=whole_number, default=1, help="trainings side by side")
    add("--beam", type=whole_number, default=2)
    add("--seed", type=whole_number, default=1)
    add("--runs-dir", type=Path, default=Path("runs"))
    add("--results-dir", type=Path, default=Path("results"))
    args = parser.parse_args(argv)
    args.words = list(sys.argv[1:] if argv is None else argv)
    return args


def contexts(text: str) -> tuple[int, ...]:
    """An argument type: numbers of sentences, the whole document among them."""
    names = command_line.comma_list(text)
    if "all" not in names or not all(name == "all" or name.isdecimal() for name in names):
        raise argparse.ArgumentTypeError(f"{text} is not such as 0,1,all")
    return tuple(-1 if name == "all" else int(name) for name in names)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.documents``."""
    args = parse_args(argv)
    return command_line.run(lambda: compare(args))


if __name__ == "__main__":
    raise SystemExit(main())
