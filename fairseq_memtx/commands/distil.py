"""Distil a teacher into new training data: its translations of the training sources.

``memtx distil --data DATA --teacher CHECKPOINT --out OUT`` decodes the training set of
DATA (as data_prep lays it out) with fairseq-generate, and writes OUT in the same layout: the same
sources, dictionary, validation and test set, and the teacher's targets (Kim and Rush 2016).
With ``--train-args ...`` a student is then trained on it. Shards that were decoded are kept when
the command is interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fairseq_memtx.commands import train_staged
from fairseq_memtx.commands.hypotheses import LineCounter, numbered
from fairseq_memtx.ground import command_line, cores, processes, shell, text, writing
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import (
    atomic_writers,
    in_one_line,
    read_json,
    renamed_together,
    sha256_of,
    write_bytes,
    write_json,
)
from fairseq_memtx.ground.layout import PREPARED, Layout
from fairseq_memtx.ground.prepared import check_folder, read_report
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.stamps import Stamps

logger = logging.getLogger(__name__)


class Distillation:
    """The work of one command: decode, write, train.

    Args:
        args: of the command line.
        report: ``prepared.json`` of the data.
        lock: the lock of the output, which the children inherit: it lasts as long as they do.
    """

    def __init__(
        self, args: argparse.Namespace, report: dict[str, Any], lock: BinaryIO | None = None
    ) -> None:
        self.args, self.report, self.lock = args, report, lock
        languages = report["source_lang"], report["target_lang"]
        self.old, self.new = Layout(args.data, *languages), Layout(args.out, *languages)

    def run(self) -> None:
        """Do what is not done yet."""
        shards = self.decode()
        stamps = Stamps(self.args.out, stale=[self.new.report])
        inputs = {**self.inputs(), "data": self.report["outputs"]}
        stamps.run("distil", inputs, self.outputs(), lambda: self.write(shards))
        if self.args.train_args:
            threads = self.args.threads * self.args.jobs
            train_staged.run("on the teacher's translations", self.train_command(), threads)

    def inputs(self) -> dict[str, Any]:
        """All that the translations depend on, besides the data."""
        teachers = [sha256_of(path) for path in self.args.teacher]
        return {"teachers": teachers, "search": self.search(), "shards": self.args.shards}

    def search(self) -> list[str]:
        """Flags of fairseq-generate that decide on the translations."""
        args = self.args
        return ["--beam", str(args.beam), "--lenpen", str(args.lenpen), *args.generate_args]

    def generate_command(self, shard: int) -> list[str]:
        """``fairseq-generate`` for one of the shards of the training set."""
        args, (source, target) = self.args, self.new.languages
        command = ["fairseq-generate", str(self.old.bin), "--user-dir", str(shell.USER_DIR)]
        command += ["--task", "memtx_translation", "--source-lang", source, "--target-lang", target]
        command += ["--gen-subset", "train", "--skip-invalid-size-inputs-valid-test"]
        command += ["--path", ":".join(map(str, args.teacher)), "--max-tokens"]
        command += [str(args.max_tokens), "--no-progress-bar", "--num-shards", str(args.shards)]
        return [*command, "--shard-id", str(shard), *self.search()]

    def train_command(self) -> list[str]:
        """``fairseq-train`` of the student."""
        command = ["fairseq-train", str(self.new.bin), "--user-dir", str(shell.USER_DIR)]
        command += ["--task", "memtx_translation", "--save-dir", str(self.args.out / "checkpoints")]
        return command + self.args.train_args

    def decode(self) -> list[Path]:
        """Decode the shards that are not decoded yet; return the output of all."""
        folder = self.args.out / "decoded"
        decided = {**self.inputs(), "data": self.report["outputs"]}
        keep_for(folder, json.loads(json.dumps(decided)))
        outputs = [folder / f"{shard}.out" for shard in range(self.args.shards)]
        waiting = [shard for shard, output in enumerate(outputs) if not output.exists()]
        if len(waiting) < len(outputs):
            logger.info(
                "%d of %d shards: decoded before", len(outputs) - len(waiting), len(outputs)
            )
        if not waiting:
            return outputs
        logger.info("decode: %s", shell.shell_line(self.generate_command(waiting[0])))
        sentences = self.report["pairs"]["train"] * len(waiting) // len(outputs)
        with Progress("decode", total=sentences, unit="sentences") as progress:
            jobs = [self.shard_job(shard, outputs[shard], progress) for shard in waiting]
            for job in processes.run_all(jobs, self.args.jobs):
                tail = f"`{job.log}` ends:\n{job.log_tail()}"
                raise UserError(f"decoding {job.name} failed, {tail}")
        return outputs

    def shard_job(self, shard: int, output: Path, progress: Progress) -> processes.Job:
        """The decoding of one shard, which becomes ``output`` once it is whole."""
        log = output.with_suffix(".log")
        log.unlink(missing_ok=True)
        command = shell.executable(self.generate_command(shard))
        job = processes.Job(f"shard {shard + 1}", command, log, self.args.threads, self.lock)
        counter = LineCounter(log, progress)

        def poll() -> None:
            counter.poll()
            if job.ended() and not job.failed():
                writing.publish_growing(log, output)

        job.on_poll = poll
        return job

    def outputs(self) -> list[Path]:
        """All files of the new data but for ``prepared.json``."""
        return [
            *self.train_files(),
            *([self.new.docids("train")] if self.has_docids() else []),
            *[self.new.out / name for name in self.copied()],
            *[self.text(language) for language in self.new.languages],
        ]

    def train_files(self) -> list[Path]:
        """The binarised training set."""
        prefixes = [self.new.prefix("train", language) for language in self.new.languages]
        return [Path(f"{prefix}.{end}") for prefix in prefixes for end in ("bin", "idx")]

    def text(self, language: str) -> Path:
        """The new parallel text, detokenised."""
        return self.new.out / "text" / f"train.{language}"

    def copied(self) -> list[str]:
        """What is the same in the new data as in the old."""
        ours = {path.relative_to(self.new.out).as_posix() for path in self.train_files()}
        names = [name for name in self.report["outputs"] if name not in ours]
        return [name for name in names if name != "bin/train.docid"]

    def has_docids(self) -> bool:
        """Whether the data says which document a training pair is of."""
        return "bin/train.docid" in self.report["outputs"]

    def write(self, shards: Sequence[Path]) -> dict[str, Any]:
        """Write the new data; returns how many pairs there are, and how many were left out."""
        for name in self.copied():
            copy_whole(self.old.out / name, self.new.out / name)
        found = collect(line for shard in shards for line in read_lines(shard))
        beyond = sum(number >= self.report["pairs"]["train"] for number in found)
        if beyond:
            raise UserError(f"{beyond} translations are of sentences that the data does not have")
        result = self.write_training_set(found)
        outputs = [path for path in self.outputs() if "text" not in path.parts]
        sha256 = {path.relative_to(self.new.out).as_posix(): sha256_of(path) for path in outputs}
        pairs = {**self.report["pairs"], "train": result["pairs"]}
        new = {"pairs": pairs, "outputs": sha256, "distilled": {**self.inputs(), **result}}
        write_json(self.new.report, {**self.report, **new})
        return result

    def write_training_set(self, found: dict[int, str]) -> dict[str, Any]:
        """Write sources and translations in the order of the old data."""
        from fairseq.data import Dictionary
        from fairseq.data.indexed_dataset import MMapIndexedDataset

        from fairseq_memtx import plugin  # noqa: F401  (says what is wrong with damaged files)
        from fairseq_memtx.data.binarised import check_pair

        source_lang, target_lang = self.new.languages
        check_pair(str(self.old.prefix("train", source_lang)))
        sources = MMapIndexedDataset(str(self.old.prefix("train", source_lang)))
        dictionary = Dictionary.load(str(self.old.dictionary(target_lang)))
        kept = [number for number in range(len(sources)) if found.get(number)]
        if not kept:
            raise UserError(
                "the teacher translated no training source: are all of them too long for it?"
            )
        # one space between pieces, which may hold any other blank
        translations = {number: found[number].split(" ") for number in kept}
        pairs = ((sources[n], encode(dictionary, pieces)) for n, pieces in translations.items())
        with renamed_together(self.train_files()) as named:
            write_binary(pairs, [named(path) for path in self.train_files()], len(dictionary))
        if self.has_docids():
            docids = list(read_lines(self.old.docids("train")))
            write_bytes(self.new.docids("train"), as_lines(docids[number] for number in kept))
        pieces = (dictionary.string(sources[number]).split(" ") for number in kept)
        self.write_text(pieces, translations.values())
        empty = sum(text == "" for text in found.values())
        missing = len(sources) - len(found)
        return {"pairs": len(kept), "dropped": {"not translated": missing, "empty": empty}}

    def write_text(self, *sides: Iterable[list[str]]) -> None:
        """Write the subwords of both sides as text, which is to read, not to train on."""
        for language, pieces in zip(self.new.languages, sides, strict=True):
            write_bytes(self.text(language), as_lines(map(text.join, pieces)))


def as_lines(lines: Iterable[str]) -> bytes:
    """The lines as the content of a file."""
    return "".join(f"{line}\n" for line in lines).encode()


def keep_for(folder: Path, decided: dict[str, Any]) -> None:
    """Make the folder of decoded shards, empty unless it was made for the same decisions."""
    note = folder / "decoding.json"
    if note.exists():
        with contextlib.suppress(UserError):
            if read_json(note, "a note of ours") == decided:
                return
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"`{folder}` was not made by this command, for it has no {note.name}: move it away"
        )
    if folder.exists():
        logger.info("decoding anew: the teacher, the data or the search is another one")
        shutil.rmtree(folder)
    write_json(note, decided)


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, split at line feeds only."""
    with path.open(encoding="utf-8", newline="\n") as file, in_one_line(path, "UTF-8"):
        for line in file:
            yield line.removesuffix("\n")


def collect(lines: Iterable[str]) -> dict[int, str]:
    """The best hypothesis of each sentence, as subwords, from fairseq-generate's output.

    Raises:
        UserError: a sentence was decoded twice, or a line is none of fairseq-generate's.
    """
    found: dict[int, str] = {}
    sources: set[int] = set()
    for line in lines:
        if line.startswith("S-"):
            number, _ = numbered(line)
            if number in sources:
                raise UserError(f"sentence {number} was decoded twice")
            sources.add(number)
        if line.startswith("H-"):
            number, fields = numbered(line)
            # with --nbest they come best first
            found.setdefault(number, fields[-1].strip(" ") if len(fields) == 2 else "")
    return found


def encode(dictionary: Any, pieces: list[str]) -> Any:
    """Numbers of the pieces, with the end symbol."""
    import torch

    return torch.tensor([*(dictionary.index(piece) for piece in pieces), dictionary.eos()])


def write_binary(pairs: Iterator[tuple[Any, Any]], files: Sequence[Path], num_words: int) -> None:
    """Write source and target, each as fairseq's data and index file."""
    from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder, best_fitting_int_dtype

    dtype = best_fitting_int_dtype(num_words)
    source, target = (MMapIndexedDatasetBuilder(str(files[i]), dtype) for i in (0, 2))
    for one, other in pairs:
        source.add_item(one)
        target.add_item(other)
    source.finalize(str(files[1]))
    target.finalize(str(files[3]))


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that it appears whole."""
    with source.open("rb") as old, atomic_writers(target) as (new,):
        shutil.copyfileobj(old, new, 1 << 20)


def distil(args: argparse.Namespace) -> None:
    """Check what is given, then do the work."""
    for folder, flag in ((args.data, "--data"), (args.out, "--out")):
        check_folder(folder, flag)
    if not (args.data / PREPARED).is_file():
        raise UserError(
            f"`--data {args.data}` holds no prepared.json: name a folder that `memtx prepare` made"
        )
    report = read_report(args.data)
    for teacher in args.teacher:
        if not teacher.is_file():
            raise UserError(f"there is no file `--teacher {teacher}`: name a checkpoint")
    if args.out.resolve() == args.data.resolve():
        raise UserError("`--out` is the same folder as `--data`: name another")
    busy = f"`--out {args.out}` is being written by another distillation: wait for it"
    with writing.locked(args.out / ".lock", busy) as lock:
        Distillation(args, report, lock).run()


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx distil``."""
    whole = command_line.positive_int
    parser = argparse.ArgumentParser(prog="memtx distil", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, help="what data_prep made")
    add("--teacher", type=lambda names: [Path(name) for name in names.split(":")], required=True,
        help="checkpoint, or several of an ensemble separated by colons")  # fmt: skip
    add("--out", type=lambda name: Path(name).resolve(), required=True, help="the new data")
    add("--beam", type=whole, default=5)
    add("--lenpen", type=float, default=1.0)
    add("--max-tokens", type=whole, default=4000, help="source tokens in a batch")
    add("--generate-args", type=shlex.split, default=[], metavar="'FLAGS'",
        help="more flags of fairseq-generate, such as '--memtx-generator fast'")  # fmt: skip
    add("--shards", type=whole, default=8, help="parts, each kept once it is decoded")
    add("--jobs", type=whole, default=1, help="shards decoded side by side")
    add("--threads", type=cores.thread_count, default=1, help="of each of them")
    add("--train-args", nargs=argparse.REMAINDER, default=[],
        help="last: flags of fairseq-train, to train on the new data")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx distil``."""
    args = parse_args(argv)
    return command_line.run(lambda: distil(args))
