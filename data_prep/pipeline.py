"""The stages from parallel text to the prepared layout, in order, each with its stamp."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fairseq_memtx.ground import writing
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import (
    atomic_writers,
    open_bytes,
    renamed_together,
    sha256_of,
    write_json,
)
from fairseq_memtx.ground.layout import HELD_OUT, PREPARED, SPLITS, Layout
from fairseq_memtx.ground.prepared import read_report
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.stamps import Stamp, Stamps, digest
from fairseq_memtx.ground.text import looks_like_utf16
from fairseq_memtx.ground.workers import ordered_map
from fairseq_memtx.ground.writing import check_output

from . import __version__, duplicates, sgm, spm
from .clean import KEPT, REPLACED, Cleaner
from .corpus import ParallelFiles, SgmFiles, read_blocks, read_lines, unequal_lines
from .encode import Encoder, Limits, TextBlock, encode_split
from .heldout import HeldOut, copy_references
from .options import Options

logger = logging.getLogger(__name__)

POSITIONS = 1024  # of fairseq's models unless told otherwise, the end symbol included
TEXT_OPTIONS = ("source_lang", "target_lang", "tokenizer", "normalize")
CLEAN_OPTIONS = (*TEXT_OPTIONS, "min_words", "max_words", "control", "invalid_utf8")
SPM_OPTIONS = (
    "vocab_size",
    "model_type",
    "character_coverage",
    "byte_fallback",
    "spm_sample",
    "seed",
)


@dataclass(frozen=True)
class Corpora:
    """What is prepared: training corpora in order, one validation and one test set."""

    train: Sequence[ParallelFiles]
    valid: ParallelFiles | SgmFiles
    test: ParallelFiles | SgmFiles


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold ``out`` for this process.

    Raises:
        UserError: another process is preparing there.
    """
    busy = f"another data_prep is at work in `{out}`: wait for it, or use another folder"
    with writing.locked(out / ".lock", busy):
        yield


def stamps_of(out: Path) -> Stamps:
    """The stamps of ``out``; a stage that starts takes away the report, which would be stale."""
    return Stamps(out, stale=[out / "prepared.json"])


class Preparation:
    """One preparation into ``out``; ``run`` does what its stamps say is still to be done.

    Args:
        out: the output folder.
        corpora: the text.
        options: everything else.
        origin: where the text came from, for ``prepared.json`` (e.g. the archives' checksums).
    """

    def __init__(
        self, out: Path, corpora: Corpora, options: Options, origin: dict[str, Any] | None = None
    ) -> None:
        self.options = options
        self.origin = origin or {}
        self.layout = Layout(out, options.source_lang, options.target_lang)
        self.stamps = stamps_of(out)
        self.done: dict[str, Stamp] = {}
        held_out = {"valid": corpora.valid, "test": corpora.test}
        self.corpora: dict[str, list[ParallelFiles]] = {"train": list(corpora.train)}
        for split, files in held_out.items():
            self.corpora[split] = [self._from_sgm(split, files)]
        self.documented = [s for s in SPLITS if any(files.docids for files in self.corpora[s])]
        self.sources = {split: self._check(split) for split in SPLITS}

    def run(self) -> dict[str, Any]:
        """Prepare everything and return the content of ``prepared.json``.

        Raises:
            UserError: the input or an option cannot be used; what is done so far stays.
        """
        run = self._stage
        layout, only = self.layout, self.options.only
        run("clean", self._clean, self._clean_outputs(), **self._clean_inputs())
        run("duplicates", self._duplicates, [layout.keep], "clean", **only("duplicates"))
        text = ("clean", "duplicates")
        run("spm", self._spm, [layout.model, layout.pieces], *text, **only(*SPM_OPTIONS))
        encoded = [*layout.ids("train").all(), layout.piece_counts]
        limits = only("max_subwords", "max_ratio")
        run("encode", self._encode, encoded, *text, "spm", **limits)
        for split in HELD_OUT:
            outputs = [*layout.ids(split).all(), *self._references(split)]
            inputs = {**only(*TEXT_OPTIONS), "sources": self.sources[split]}
            run(split, partial(self._held_out, split), outputs, "spm", **inputs)
        binarised = layout.bin_files(self.documented)
        run("binarise", self._binarise, binarised, "spm", "encode", *HELD_OUT)
        return self._report()

    # Stages: each returns what its stamp should tell -----------------------------------------

    def _clean(self) -> dict[str, Any]:
        """Read all training corpora, drop what cannot be used, write the rest as one text."""
        counts, read, first_invalid = Counter[str](), 0, None
        cleaner = partial(Cleaner, self.options, qualify_docids=self._qualified)
        blocks = chain.from_iterable(map(read_blocks, self.corpora["train"]))
        progress = Progress("clean", self._lines("train"))
        with atomic_writers(*self._clean_outputs()) as files, progress:
            for block in ordered_map(cleaner, blocks, self.options.workers):
                columns = (block.source, block.target, block.docids, block.hashes)
                for file, column in zip(files, columns, strict=True):
                    file.write(column)
                counts += block.counts
                read += block.lines_read
                first_invalid = first_invalid or block.first_invalid
                progress.add(block.lines_read)
            replaced, kept = counts.pop(REPLACED, 0), counts.pop(KEPT, 0)
            _require_pairs(kept, "cleaning", counts)
        if first_invalid:
            invalid = counts["invalid UTF-8"]
            logger.warning("%d pairs are not UTF-8: dropped; first %s", invalid, first_invalid)
        return {"read": read, "kept": kept, "dropped": dict(counts), REPLACED: replaced}

    def _duplicates(self) -> dict[str, Any]:
        """Mark the repetitions of a pair."""
        mark = duplicates.mark_first if self.options.duplicates == "drop" else duplicates.mark_all
        dropped = mark(self.layout.hashes, self.layout.keep)
        return {"kept": self._result("clean")["kept"] - dropped, "dropped": {"duplicates": dropped}}

    def _spm(self) -> dict[str, Any]:
        """Train the subwords on a sample of the kept pairs."""
        layout, options = self.layout, self.options
        pairs = self._result("duplicates")["kept"]
        size = min(pairs, options.spm_sample)
        logger.info("spm: training %d pieces on %d pairs", options.vocab_size, size)
        sentences = spm.sample(layout.keep, layout.clean_sides, pairs, options)
        trained = spm.train(sentences, layout.model, layout.pieces, options)
        return {"pairs": size, **trained}

    def _encode(self) -> dict[str, Any]:
        """Encode the kept training pairs, dropping those out of the limits in subwords."""
        limits = Limits(self.options.max_subwords, self.options.max_ratio)
        columns = (*self.layout.clean_sides, self.layout.clean_docids)
        blocks = (TextBlock(*block) for block in spm.kept_blocks(self.layout.keep, *columns))
        progress = Progress("encode", self._result("duplicates")["kept"])
        result = self._encode_blocks("train", blocks, limits, progress, self.options.workers)
        _require_pairs(result["pairs"], "encoding", result["dropped"])
        write_json(self.layout.piece_counts, result.pop("tokens"))
        return result

    def _held_out(self, split: str) -> dict[str, Any]:
        """Keep a validation or test set untouched as references, and encode every line of it."""
        files = self.corpora[split][0]
        text = HeldOut(files, self.options)
        copy_references(files, self._references(split))
        progress = Progress(split, self._lines(split))
        result = self._encode_blocks(split, text, None, progress, workers=1)
        _require_pairs(result["pairs"], f"reading the {split} set", {})
        text.warn()
        del result["tokens"]
        too_long = self._too_long(split)
        return {**result, "blank": len(text.blank), "too long": len(too_long)}

    def _too_long(self, split: str) -> list[int]:
        """The numbers, from 1, of the lines with more subwords than fairseq's models take; told."""
        ids = self.layout.ids(split)
        sizes = [np.fromfile(path, "<i4") for path in (ids.source_sizes, ids.target_sizes)]
        longest = np.maximum(*sizes)
        numbers = (np.nonzero(longest >= POSITIONS)[0] + 1).tolist()
        if numbers:
            logger.warning(
                "`%s`: %d lines have more than %d subwords (the first is line %d, with %d), which"
                " is what fairseq's models take: fairseq-train leaves them out of validation,"
                " fairseq-generate needs --skip-invalid-size-inputs-valid-test, `memtx translate`"
                " translates them in parts",
                self.corpora[split][0].name, len(numbers), POSITIONS - 1, numbers[0],
                longest[numbers[0] - 1],
            )  # fmt: skip
        return numbers

    def _binarise(self) -> dict[str, Any]:
        """Turn the ids of all splits into fairseq's files."""
        from . import binarise

        layout = self.layout
        pieces = [line[:-1].decode() for line in read_lines(layout.pieces)]
        counts = json.loads(layout.piece_counts.read_bytes())
        dictionary = binarise.make_dictionary(pieces, counts)
        table = binarise.id_table(pieces, dictionary)
        layout.bin.mkdir(parents=True, exist_ok=True)
        with renamed_together(layout.bin_files(self.documented)) as name, Progress("binarise") as p:
            for split in SPLITS:
                for lang, ids in zip(layout.languages, layout.ids(split).sides(), strict=True):
                    prefix = layout.prefix(split, lang)
                    outputs = (name(Path(f"{prefix}.bin")), name(Path(f"{prefix}.idx")))
                    binarise.write_set(*ids, *outputs, table, dictionary.eos())
                p.add(self._pairs(split))
            for split in self.documented:
                shutil.copyfile(layout.ids(split).docids, name(layout.docids(split)))
            for lang in layout.languages:
                dictionary.save(str(name(layout.dictionary(lang))))
            shutil.copyfile(layout.model, name(layout.bin_model))
        return {"symbols": len(dictionary)}

    # Around the stages --------------------------------------------------------------------------

    def _stage(self, name: str, work: Any, outputs: list[Path], *after: str, **inputs: Any) -> None:
        inputs["after"] = {earlier: digest(self.done[earlier]) for earlier in after}
        self.done[name] = self.stamps.run(name, inputs, outputs, work)

    def _from_sgm(self, split: str, files: ParallelFiles | SgmFiles) -> ParallelFiles:
        """Plain text and document ids from a pair of SGM files; other files as they are."""
        if isinstance(files, ParallelFiles):
            return files
        outputs = self.layout.text(split)
        hashes = [self.stamps.facts(path)["sha256"] for path in (files.source, files.target)]

        def work() -> dict[str, Any]:
            return {"segments": sgm.convert(files.source, files.target, outputs)}

        self._stage(f"sgm-{split}", work, list(outputs), sources=hashes)
        return ParallelFiles(files.name, *outputs)

    def _check(self, split: str) -> list[dict[str, Any]]:
        """Checksums and line counts of a split's files, which must agree."""
        told = []
        for files in self.corpora[split]:
            self._refuse_own_outputs(files)
            for path in (files.source, files.target):
                refuse_utf16(path)
            facts = {path: self.stamps.facts(path) for path in files.paths()}
            counts = {path: fact["lines"] for path, fact in facts.items()}
            if len(set(counts.values())) > 1:
                raise unequal_lines(counts)
            lines = counts[files.source]
            logger.info("%s: `%s` has %d pairs", split, files.name, lines)
            hashes = {path.name: fact["sha256"] for path, fact in facts.items()}
            told.append({"name": files.name, "lines": lines, "sha256": hashes})
        return told

    def _refuse_own_outputs(self, files: ParallelFiles) -> None:
        """An input that the preparation would write over is refused."""
        own = [*self.layout.bin_files(list(SPLITS)), *self._clean_outputs()]
        own += [path for split in HELD_OUT for path in self.layout.references(split, True)]
        own += [self.layout.keep, self.layout.model, self.layout.pieces, self.layout.report]
        own += [path for split in SPLITS for path in self.layout.ids(split).all()]
        for path in own:
            if path.exists():
                check_output(path, inputs=files.paths())

    def _encode_blocks(
        self,
        split: str,
        blocks: Iterable[TextBlock],
        limits: Limits | None,
        progress: Progress,
        workers: int,
    ) -> dict[str, Any]:
        encoder = partial(Encoder, self.layout.model, self._result("spm")["sha256"], limits)
        return encode_split(blocks, self.layout.ids(split), encoder, workers, progress)

    @property
    def _qualified(self) -> bool:
        """Whether document ids need their corpus' name to be told apart."""
        return "train" in self.documented and len(self.corpora["train"]) > 1

    def _clean_outputs(self) -> list[Path]:
        return [*self.layout.clean_sides, self.layout.clean_docids, self.layout.hashes]

    def _clean_inputs(self) -> dict[str, Any]:
        return {
            **self.options.only(*CLEAN_OPTIONS),
            "sources": self.sources["train"],
            "qualified": self._qualified,
        }

    def _references(self, split: str) -> list[Path]:
        return self.layout.references(split, context=self.corpora[split][0].context is not None)

    def _result(self, stage: str) -> dict[str, Any]:
        return self.done[stage]["result"]

    def _pairs(self, split: str) -> int:
        return self._result("encode" if split == "train" else split)["pairs"]

    def _lines(self, split: str) -> int:
        return sum(source["lines"] for source in self.sources[split])

    def _report(self) -> dict[str, Any]:
        """Write ``prepared.json`` and return its content."""
        outputs = {**self.done["binarise"]["outputs"]}
        for split in HELD_OUT:
            produced = self.done[split]["outputs"]
            outputs |= {name: known for name, known in produced.items() if name.startswith("refs/")}
        dropped = Counter[str]()
        for stage in ("clean", "duplicates", "encode"):
            dropped.update(self._result(stage)["dropped"])
        report = {
            "data_prep": __version__,
            "source_lang": self.options.source_lang,
            "target_lang": self.options.target_lang,
            "vocab_size": self._result("binarise")["symbols"],
            "options": self.options.asdict(),
            "origin": self.origin,
            "sources": self.sources,
            "pairs": {split: self._pairs(split) for split in SPLITS},
            "dropped": dict(dropped),
            "stages": {name: stamp["result"] for name, stamp in self.done.items()},
            "outputs": {name: known["sha256"] for name, known in outputs.items()},
        }
        write_json(self.layout.report, report)
        return report


def verify(out: Path) -> list[str]:
    """Compare the outputs of a preparation with ``prepared.json``; returns what differs.

    Raises:
        UserError: there is no whole preparation in ``out``.
    """
    if not (out / PREPARED).is_file():
        raise UserError(f"`{out}` holds no prepared.json: prepare it first")
    differences = []
    for name, sha256 in read_report(out)["outputs"].items():
        path = out / name
        if not path.is_file():
            differences.append(f"`{path}` is missing")
        elif sha256_of(path) != sha256:
            differences.append(f"`{path}` does not have its recorded SHA-256")
    return differences


def refuse_utf16(path: Path) -> None:
    """Refuse a text in UTF-16, of which every other character would be a NUL.

    Raises:
        UserError: it looks like one.
    """
    with open_bytes(path) as file:
        if looks_like_utf16(file.read(4096)):
            raise UserError(
                f"`{path}` looks like UTF-16, not UTF-8: convert it, for example with `iconv -f"
                " UTF-16 -t UTF-8`"
            )


def _require_pairs(pairs: int, doing: str, dropped: dict[str, int]) -> None:
    if not pairs:
        told = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        raise UserError(
            f"no pair is left after {doing}"
            + (f" (dropped: {told})" if told else "")
            + ": look at the text and the limits"
        )
