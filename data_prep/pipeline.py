"""The stages from parallel text to the prepared layout, in order, each with its stamp.

Layout of the output folder: ``bin/`` for fairseq, ``refs/`` for sacreBLEU, ``prepared.json`` (last
to appear: without it the folder is not whole), ``stamps/``, and ``work/`` with what lies between.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from data_prep import __version__, duplicates, spm
from data_prep.clean import KEPT, REPLACED, Cleaner
from data_prep.corpus import (
    Block,
    ParallelFiles,
    read_blocks,
    read_lines,
    split_lines,
    unequal_lines,
)
from data_prep.encode import Encoder, IdFiles, Limits, TextBlock, encode_split
from data_prep.errors import UserError
from data_prep.files import atomic_writers, renamed_together, sha256_of, write_json
from data_prep.options import Options
from data_prep.progress import Progress
from data_prep.stamps import Stamp, Stamps, digest
from data_prep.tokenise import is_blank, make_process, replace_control
from data_prep.workers import ordered_map

logger = logging.getLogger(__name__)

HELD_OUT = ("valid", "test")
SPLITS = ("train", *HELD_OUT)
CLEAN_OPTIONS = (
    "source_lang",
    "target_lang",
    "min_words",
    "max_words",
    "control",
    "invalid_utf8",
    "tokenizer",
    "normalize",
)
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
    valid: ParallelFiles
    test: ParallelFiles

    def held_out(self, split: str) -> ParallelFiles:
        """The files of "valid" or "test"."""
        return {"valid": self.valid, "test": self.test}[split]

    @property
    def documented(self) -> bool:
        """Whether a training corpus has document ids."""
        return any(files.docids for files in self.train)


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
        self.out, self.corpora, self.options = out, corpora, options
        self.origin = origin or {}
        self.report_file = out / "prepared.json"
        self.stamps = Stamps(out, stale=[self.report_file])
        self.work, self.bin, self.refs = out / "work", out / "bin", out / "refs"
        langs = (options.source_lang, options.target_lang)
        self.languages = langs
        self.clean_sides = (self.work / f"clean.{langs[0]}", self.work / f"clean.{langs[1]}")
        self.clean_docids = self.work / "clean.docid"
        self.hashes, self.keep = self.work / "clean.hashes", self.work / "clean.keep"
        self.sample = self.work / "spm.sample"
        self.model, self.vocabulary = self.work / "spm.model", self.work / "spm.vocab"
        self.ids = {split: IdFiles.of(self.work, split, options) for split in SPLITS}
        self.done: dict[str, Stamp] = {}

    def run(self) -> dict[str, Any]:
        """Prepare everything and return the content of ``prepared.json``.

        Raises:
            UserError: the input or an option cannot be used; what is done so far stays.
        """
        self.sources = {split: self._check(split) for split in SPLITS}
        self._stage("clean", self._clean_inputs(), self._clean_outputs(), self._clean)
        self._stage("duplicates", self._after("clean", "duplicates"), [self.keep], self._duplicates)
        self._stage(
            "spm",
            self._after(("clean", "duplicates"), *SPM_OPTIONS),
            [self.model, self.vocabulary],
            self._spm,
        )
        self._stage(
            "encode",
            self._after(("clean", "duplicates", "spm"), "max_subwords", "max_ratio"),
            self.ids["train"].all(),
            self._encode,
        )
        for split in HELD_OUT:
            inputs = {**self._after("spm", *CLEAN_OPTIONS), "sources": self.sources[split]}
            outputs = [*self.ids[split].all(), *self._references(split)]
            self._stage(split, inputs, outputs, partial(self._held_out, split))
        self._stage(
            "binarise", self._after(("encode", *HELD_OUT)), self._bin_files(), self._binarise
        )
        return self._report()

    # Stages ---------------------------------------------------------------------------------

    def _clean(self) -> dict[str, Any]:
        """Read all training corpora, drop what cannot be used, write the rest as one text."""
        counts, invalid, read = Counter[str](), list[str](), 0
        cleaner = partial(Cleaner, self.options, qualify_docids=self._qualified)
        blocks = chain.from_iterable(read_blocks(files) for files in self.corpora.train)
        progress = Progress("clean", self._lines("train"))
        with atomic_writers(*self._clean_outputs()) as files, progress:
            for block in ordered_map(cleaner, blocks, self.options.workers):
                columns = (block.source, block.target, block.docids, block.hashes)
                for file, column in zip(files, columns, strict=True):
                    file.write(column)
                counts += block.counts
                read += block.lines_read
                if block.first_invalid:
                    invalid.append(block.first_invalid)
                progress.add(block.lines_read)
            if invalid:
                logger.warning(
                    "%d pairs are not valid UTF-8 and were dropped; the first is %s",
                    counts["invalid UTF-8"],
                    invalid[0],
                )
            self._require_pairs(counts[KEPT], "cleaning", counts)
        replaced, kept = counts.pop(REPLACED, 0), counts.pop(KEPT)
        return {"read": read, "kept": kept, "dropped": dict(counts), REPLACED: replaced}

    def _duplicates(self) -> dict[str, Any]:
        """Mark the repetitions of a pair."""
        mark = duplicates.mark_first if self.options.duplicates == "drop" else duplicates.mark_all
        dropped = mark(self.hashes, self.keep)
        return {"kept": self._kept("clean") - dropped, "dropped": {"duplicates": dropped}}

    def _spm(self) -> dict[str, Any]:
        """Train the subwords on a sample of the kept pairs."""
        pairs = self._kept("duplicates")
        size = spm.write_sample(self.keep, self.clean_sides, self.sample, pairs, self.options)
        logger.info("spm: training %d pieces on %d pairs", self.options.vocab_size, size)
        try:
            trained = spm.train(self.sample, self.model, self.vocabulary, self.options)
        finally:
            self.sample.unlink(missing_ok=True)
        return {"pairs": size, **trained}

    def _encode(self) -> dict[str, Any]:
        """Encode the kept training pairs, dropping those out of the limits in subwords."""
        limits = Limits(self.options.max_subwords, self.options.max_ratio)
        columns = (*self.clean_sides, self.clean_docids)
        blocks = (TextBlock(*block) for block in spm.kept_blocks(self.keep, *columns))
        progress = Progress("encode", self._kept("duplicates"))
        result = self._encode_blocks("train", blocks, limits, progress, self.options.workers)
        self._require_pairs(result["pairs"], "encoding", result["dropped"])
        return result

    def _held_out(self, split: str) -> dict[str, Any]:
        """Keep a validation or test set untouched as references, and encode every line of it."""
        files = self.corpora.held_out(split)
        self._copy_references(split, files)
        blank: list[int] = []
        blocks = self._processed(files, blank)
        progress = Progress(split, self._lines(split))
        result = self._encode_blocks(split, blocks, None, progress, workers=1)
        self._require_pairs(result["pairs"], f"reading the {split} set", {})
        if blank:
            logger.warning(
                "%s: %d lines have a blank side (the first is line %d); they stay, as empty "
                "sentences, so that output and references keep their alignment",
                split,
                len(blank),
                blank[0],
            )
        return {**result, "blank": len(blank)}

    def _binarise(self) -> dict[str, Any]:
        """Turn the ids of all splits into fairseq's files."""
        from data_prep import binarise

        pieces = [line[:-1].decode() for line in read_lines(self.vocabulary)]
        dictionary = binarise.make_dictionary(pieces, self._result("encode")["tokens"])
        table = binarise.id_table(pieces, dictionary)
        self.bin.mkdir(parents=True, exist_ok=True)
        with renamed_together(self._bin_files()) as suffix, Progress("binarise") as progress:
            for split in SPLITS:
                self._write_sets(split, table, dictionary.eos(), suffix)
                progress.add(self._pairs(split))
            for lang in self.languages:
                dictionary.save(str(self.bin / f"dict.{lang}.txt{suffix}"))
            shutil.copyfile(self.model, self.bin / f"sentencepiece.bpe.model{suffix}")
        return {"symbols": len(dictionary)}

    # Parts of stages --------------------------------------------------------------------------

    def _stage(
        self,
        name: str,
        inputs: dict[str, Any],
        outputs: list[Path],
        work: Callable[[], dict[str, Any]],
    ) -> None:
        self.done[name] = self.stamps.run(name, inputs, outputs, work)

    def _check(self, split: str) -> list[dict[str, Any]]:
        """Checksums and line counts of a split's files, which must agree."""
        corpora = self.corpora.train if split == "train" else [self.corpora.held_out(split)]
        told = []
        for files in corpora:
            facts = {path: self.stamps.facts(path) for path in files.paths()}
            counts = {path: fact["lines"] for path, fact in facts.items()}
            if len(set(counts.values())) > 1:
                raise unequal_lines(counts)
            lines = counts[files.source]
            logger.info("%s: `%s` has %d pairs", split, files.name, lines)
            hashes = {path.name: fact["sha256"] for path, fact in facts.items()}
            told.append({"name": files.name, "lines": lines, "sha256": hashes})
        return told

    def _encode_blocks(
        self,
        split: str,
        blocks: Iterator[TextBlock],
        limits: Limits | None,
        progress: Progress,
        workers: int,
    ) -> dict[str, Any]:
        encoder = partial(Encoder, self.model, self._result("spm")["sha256"], limits)
        return encode_split(blocks, self.ids[split], encoder, workers, progress)

    def _processed(self, files: ParallelFiles, blank: list[int]) -> Iterator[TextBlock]:
        """The lines of a held-out set as the model sees them; collects blank lines' numbers."""
        processes = [
            make_process(lang, self.options.tokenizer, self.options.normalize)
            for lang in self.languages
        ]
        for block in read_blocks(files):
            sides = []
            for text, path, process in zip(
                (block.source, block.target), (files.source, files.target), processes, strict=True
            ):
                lines = [
                    replace_control(_decode(raw, path, block.first_line + offset))
                    for offset, raw in enumerate(split_lines(text))
                ]
                sides.append([process(line).encode() + b"\n" for line in lines])
            blank += [
                block.first_line + offset
                for offset, pair in enumerate(zip(*sides, strict=True))
                if any(is_blank(line.decode()) for line in pair)
            ]
            yield TextBlock(sides[0], sides[1], _docid_lines(block))

    def _copy_references(self, split: str, files: ParallelFiles) -> None:
        sides = [files.source, files.target, *([files.context] if files.context else [])]
        outputs = self._references(split)
        with atomic_writers(*outputs) as writers:
            for path, writer in zip(sides, writers, strict=True):
                writer.writelines(read_lines(path))

    def _write_sets(self, split: str, table: Any, eos: int, suffix: str) -> None:
        from data_prep import binarise

        ids = self.ids[split]
        sides = ((ids.source_ids, ids.source_sizes), (ids.target_ids, ids.target_sizes))
        for lang, files in zip(self.languages, sides, strict=True):
            prefix = self.bin / f"{split}.{'-'.join(self.languages)}.{lang}"
            binarise.write_set(*files, prefix, table, eos, suffix)
        if self._has_docids(split):
            shutil.copyfile(ids.docids, self.bin / f"{split}.docid{suffix}")

    def _require_pairs(self, pairs: int, doing: str, dropped: dict[str, int]) -> None:
        if not pairs:
            told = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
            raise UserError(
                f"at least one pair must be left after {doing}, but none is"
                + (f" (dropped: {told})" if told else "")
                + ": look at the text and the limits"
            )

    # Names, inputs, results ---------------------------------------------------------------------

    @property
    def _qualified(self) -> bool:
        return self.corpora.documented and len(self.corpora.train) > 1

    def _has_docids(self, split: str) -> bool:
        if split == "train":
            return self.corpora.documented
        return self.corpora.held_out(split).docids is not None

    def _clean_outputs(self) -> list[Path]:
        return [*self.clean_sides, self.clean_docids, self.hashes]

    def _clean_inputs(self) -> dict[str, Any]:
        return {
            **self.options.only(*CLEAN_OPTIONS),
            "sources": self.sources["train"],
            "qualified": self._qualified,
        }

    def _after(self, stages: str | Sequence[str], *options: str) -> dict[str, Any]:
        names = [stages] if isinstance(stages, str) else stages
        upstream = {name: digest(self.done[name]) for name in names}
        return {"after": upstream, **self.options.only(*options)}

    def _references(self, split: str) -> list[Path]:
        extensions = [*self.languages]
        if self.corpora.held_out(split).context:
            extensions.append("context")
        return [self.refs / f"{split}.{extension}" for extension in extensions]

    def _bin_files(self) -> list[Path]:
        pair = "-".join(self.languages)
        names = [
            f"{split}.{pair}.{lang}.{kind}"
            for split in SPLITS
            for lang in self.languages
            for kind in ("bin", "idx")
        ]
        names += [f"dict.{lang}.txt" for lang in self.languages]
        names += [f"{split}.docid" for split in SPLITS if self._has_docids(split)]
        return [self.bin / name for name in (*names, "sentencepiece.bpe.model")]

    def _result(self, stage: str) -> dict[str, Any]:
        return self.done[stage]["result"]

    def _kept(self, stage: str) -> int:
        return self._result(stage)["kept"]

    def _pairs(self, split: str) -> int:
        return self._result("encode" if split == "train" else split)["pairs"]

    def _lines(self, split: str) -> int:
        return sum(source["lines"] for source in self.sources[split])

    def _report(self) -> dict[str, Any]:
        """Write ``prepared.json`` and return its content."""
        outputs = [*self._bin_files(), *chain.from_iterable(map(self._references, HELD_OUT))]
        known = {**self.done["binarise"]["outputs"]}
        for split in HELD_OUT:
            known |= self.done[split]["outputs"]
        names = [path.relative_to(self.out).as_posix() for path in outputs]
        report = {
            "data_prep": __version__,
            "source_lang": self.options.source_lang,
            "target_lang": self.options.target_lang,
            "vocab_size": self._result("binarise")["symbols"],
            "options": self.options.asdict(),
            "origin": self.origin,
            "sources": self.sources,
            "pairs": {split: self._pairs(split) for split in SPLITS},
            "stages": {name: _without_tokens(stamp["result"]) for name, stamp in self.done.items()},
            "dropped": self._dropped(),
            "outputs": {name: known[name]["sha256"] for name in names},
        }
        write_json(self.report_file, report)
        return report

    def _dropped(self) -> dict[str, int]:
        dropped = Counter[str]()
        for stage in ("clean", "duplicates", "encode"):
            dropped.update(self._result(stage)["dropped"])
        return dict(dropped)


def verify(out: Path) -> list[str]:
    """Compare the outputs of a preparation with ``prepared.json``; returns what differs.

    Raises:
        UserError: there is no whole preparation in ``out``.
    """
    report = out / "prepared.json"
    if not report.is_file():
        raise UserError(f"`{out}` must hold a prepared.json, but does not: prepare it first")
    outputs = json.loads(report.read_bytes())["outputs"]
    found = {name: out / name for name in outputs}
    return [
        f"`{path}` " + ("is missing" if not path.is_file() else "does not have its SHA-256")
        for name, path in found.items()
        if not path.is_file() or sha256_of(path) != outputs[name]
    ]


def _decode(raw: bytes, path: Path, line: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"`{path}` line {line} must be UTF-8, but its byte {error.start + 1} is not: "
            "a validation or test set is never cleaned, so convert the file"
        ) from error


def _docid_lines(block: Block) -> list[bytes]:
    if block.docids is None:
        return [b"\n"] * block.lines
    return [line + b"\n" for line in split_lines(block.docids)]


def _without_tokens(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "tokens"}
