"""Speed of each stage alone, in one process: pairs per second of processor time.

Processor time is what one core of its own would need, also when others work on the machine. Repeats
are interleaved: every stage is run once, then all once more, and so on, so that a busy
machine slows all of them. Building a tokeniser or loading a model is not timed.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Any

from data_prep import duplicates, spm
from data_prep.clean import CleanBlock, Cleaner
from data_prep.corpus import Block, find_parallel, read_blocks
from data_prep.encode import Encoder, Limits, TextBlock, encode_split
from data_prep.options import Options
from fairseq_memtx.ground.files import sha256_of, write_bytes
from fairseq_memtx.ground.layout import Layout
from fairseq_memtx.ground.progress import Progress
from fairseq_memtx.ground.text import TextSteps

logger = logging.getLogger(__name__)

BLOCK_LINES = 1000


def measure_stages(
    prefixes: Sequence[str], langs: tuple[str, str], pairs: int, repeats: int, vocab_size: int
) -> dict[str, Any]:
    """Time each stage on about ``pairs`` pairs, taken from every part of the corpora.

    Returns:
        ``pairs``, ``source_words``, and for each stage its ``seconds`` and pairs per second.
    """
    options = Options(source_lang=langs[0], target_lang=langs[1], vocab_size=vocab_size, workers=1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Stages(prefixes, pairs, options, Layout(Path(folder), *langs))
        seconds: dict[str, list[float]] = {name: [] for name in bench.functions}
        for repeat in range(repeats):
            for name, function in bench.functions.items():
                started = time.process_time()
                function()
                seconds[name].append(time.process_time() - started)
                logger.info("repeat %d, %s: %.2f s", repeat + 1, name, seconds[name][-1])
    return {
        "pairs": bench.pairs,
        "source_words": bench.source_words,
        "repeats": repeats,
        "vocab_size": vocab_size,
        "stages": {name: summary(bench.pairs, times) for name, times in seconds.items()},
    }


def summary(pairs: int, seconds: list[float]) -> dict[str, Any]:
    """All times and the rates they mean."""
    rates = sorted(pairs / time for time in seconds)
    return {
        "seconds": [round(time, 4) for time in seconds],
        "pairs_per_second": {
            "median": round(median(rates)),
            "min": round(rates[0]),
            "max": round(rates[-1]),
        },
    }


class Stages:
    """The input of every stage, made beforehand, and the functions to be timed."""

    def __init__(
        self, prefixes: Sequence[str], pairs: int, options: Options, layout: Layout
    ) -> None:
        self.options, self.layout = options, layout
        self.corpora = [find_parallel(prefix, *layout.languages) for prefix in prefixes]
        self.blocks = self._choose(pairs)
        self.pairs = sum(block.lines for block in self.blocks)
        self.source_words = sum(len(block.source.split()) for block in self.blocks)
        self.cleaner = Cleaner(options)
        self._write_clean([self.cleaner(block) for block in self.blocks])
        self._train()
        self.ids = layout.ids("train")
        self.encoder = Encoder(layout.model, sha256_of(layout.model), Limits(250, 2.5))
        self._encode()
        self.functions: dict[str, Callable[[], Any]] = {
            "read": self._read,
            "clean": self._clean,
            "normalise (sacremoses)": partial(self._process, self._processes("none", True)),
            "tokenise (sacremoses)": partial(self._process, self._processes("moses", False)),
            "duplicates": self._duplicates,
            "train subwords": self._train,
            "encode": self._encode,
            "binarise": self._binariser(),
        }

    def _all_blocks(self) -> Iterator[Block]:
        return chain.from_iterable(read_blocks(files, BLOCK_LINES) for files in self.corpora)

    def _choose(self, pairs: int) -> list[Block]:
        """Every n-th block, so that each corpus has its share."""
        total = sum(block.lines for block in self._all_blocks())
        step = max(1, round(total / pairs))
        return list(islice(self._all_blocks(), 0, None, step))

    def _write_clean(self, blocks: list[CleanBlock]) -> None:
        self.layout.work.mkdir(parents=True)
        outputs = (*self.layout.clean_sides, self.layout.clean_docids, self.layout.hashes)
        for number, path in enumerate(outputs):
            write_bytes(path, b"".join(block[number] for block in blocks))  # type: ignore[misc]
        self.kept = self.layout.hashes.stat().st_size // 8
        duplicates.mark_all(self.layout.hashes, self.layout.keep)

    def _processes(self, tokenizer: str, normalize: bool) -> list[Callable[[str], str]]:
        steps = TextSteps(tokenizer, normalize)
        return [steps.before(lang) for lang in self.layout.languages]

    def _texts(self) -> Iterator[TextBlock]:
        columns = (*self.layout.clean_sides, self.layout.clean_docids)
        return (TextBlock(*block) for block in spm.kept_blocks(self.layout.keep, *columns))

    # The timed functions ---------------------------------------------------------------------

    def _read(self) -> None:
        left = self.pairs
        for block in self._all_blocks():
            left -= block.lines
            if left <= 0:
                return

    def _clean(self) -> None:
        for block in self.blocks:
            self.cleaner(block)

    def _process(self, processes: list[Callable[[str], str]]) -> None:
        for block in self.blocks:
            for side, process in zip((block.source, block.target), processes, strict=True):
                for line in side.decode().split("\n"):
                    process(line)

    def _duplicates(self) -> None:
        duplicates.mark_first(self.layout.hashes, self.layout.work / "bench.keep")

    def _train(self) -> None:
        layout = self.layout
        sentences = spm.sample(layout.keep, layout.clean_sides, self.kept, self.options)
        spm.train(sentences, layout.model, layout.pieces, self.options)

    def _encode(self) -> dict[str, Any]:
        progress = Progress("encode")
        return encode_split(self._texts(), self.ids, lambda: self.encoder, 1, progress)

    def _binariser(self) -> Callable[[], None]:
        from data_prep import binarise

        pieces = self.layout.pieces.read_text(encoding="utf-8").split("\n")[:-1]
        dictionary = binarise.make_dictionary(pieces, self._encode()["tokens"])
        table = binarise.id_table(pieces, dictionary)
        outputs = self.layout.work / "bench.bin", self.layout.work / "bench.idx"

        def write() -> None:
            for side in self.ids.sides():
                binarise.write_set(*side, *outputs, table, dictionary.eos())

        return write
