"""Raw text in, raw text out, from Python: `Translator.from_pretrained(...).translate([...])`.

    from fairseq_memtx.translator import Translator

    translator = Translator.from_pretrained("checkpoints/checkpoint_best.pt")
    translator.translate(["A man rides a bicycle."])

Works for every translation model that fairseq loads, with our decoders or its own, and for folders
that `memtx export` wrote, without fairseq. The steps around the model (punctuation, Moses' tokens,
subwords) are those of the training data.
"""

import contextlib
import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .generation.documents import DocumentScorer, DocumentSearch, Reader
from .generation.search import BatchSearch, batches_at_once
from .ground import text
from .ground.errors import UserError
from .ground.interruptions import noticed
from .ground.text import TextSteps
from .translation import parts as batching
from .translation import reading
from .translation.document_scores import scored_documents
from .translation.document_text import DocumentText
from .translation.documents import translated_documents
from .translation.loading import Wanted, load
from .translation.parts import Numbers, Part
from .translation.results import Translation, joined
from .translation.scoring import scored
from .translation.settings import SearchSettings
from .translation.wishes import Wishes

__all__ = ["SearchSettings", "Translation", "Translator", "checked_lines"]

logger = logging.getLogger(__name__)


class Translator:
    """One model, or an ensemble, ready to translate. Made by `from_pretrained`."""

    def __init__(self, models: list[Any], task: Any, generator: Any, subwords: Any,
                 steps: TextSteps, search: SearchSettings):  # fmt: skip
        self.models, self.task, self.generator = models, task, generator
        self.subwords, self.steps, self.search = subwords, steps, search
        if isinstance(generator, BatchSearch):  # a translation owes nothing to its batch
            generator.own_limits = True
        self._symbols = text.symbols(subwords)
        self._before = steps.before(task.cfg.source_lang)
        self._before_target = steps.before(task.cfg.target_lang)
        self._after = steps.after(task.cfg.target_lang)
        limits = [model.max_positions()[0] for model in models]
        self.max_source = min(limits) - 1  # room for the end symbol

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path | Sequence[str | Path],
        data: str | Path | None = None,
        search: SearchSettings | None = None,
        device: str = "cpu",
        half: bool = False,
        int8: bool = False,
        steps: TextSteps | None = None,
    ) -> "Translator":
        """Load a checkpoint, or several as an ensemble, or folders of `memtx export`.

        Args:
            checkpoint: file or files of fairseq-train, or an average of such; or a folder or
                folders, which have all that a checkpoint lacks.
            data: for a checkpoint, the folder with the dictionaries and the sentencepiece model;
                None for the folder that the model was trained on, or else the checkpoint's own.
            search: options of the beam search; None for the folder's, or for `SearchSettings()`.
            device: `cpu`, `cuda` ...
            half: compute in half precision.
            int8: round the weights to eight bits, on a CPU.
            steps: what was done to the training text; None for what the folder tells, or the data's
                `prepared.json`.

        Raises:
            UserError: where a file is missing or unusable; the message says which.
        """
        several = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
        folder = None if data is None else Path(data)
        wanted = Wanted([Path(path) for path in several], folder, search, device, half, int8, steps)
        return cls(*load(wanted))

    def with_beam(self, beam: int, nbest: int = 1, lenpen: float = 1.0) -> "Translator":
        """The same models with another beam; weights and what is prepared for decoding are shared.

        Args:
            beam, nbest, lenpen: see `SearchSettings`.

        Raises:
            UserError: for values that are impossible, or the generator `fairseq`.
        """
        if not isinstance(self.generator, BatchSearch):
            raise UserError("`generator` is fairseq: another beam wants fast")
        made = copy.copy(self)
        made.search = replace(self.search, beam=beam, nbest=nbest, lenpen=lenpen)
        made.generator = self.generator.with_beam(beam, lenpen)
        return made

    def translate(
        self,
        lines: Iterable[str],
        progress: Callable[[int], object] | None = None,
        first: int = 0,
        prefixes: Iterable[str] | None = None,
        constraints: Iterable[Sequence[str]] | None = None,
    ) -> list[str]:
        """Translate each line; the result has as many, in the same order.

        A blank line stays blank. A line longer than the model takes is translated in parts, cut
        between words, and said so in the log.

        Args:
            lines: raw text, a sentence each.
            progress: called now and then with the number of lines finished since the last time.
            first: the number of the first line, from 0, for messages.
            prefixes: of each line how its translation begins, as raw text; "" for anything. None
                where none is given.
            constraints: of each line words or phrases that its translation must have, as raw text,
                with the setting `constraints`; None where there are none.

        Raises:
            UserError: for a single text in place of lines, a line that is no text, or a prefix or
                constraint that cannot be kept to.
            FloatingPointError: where the model gives no numbers.
        """
        found = self.nbest(lines, progress, first, prefixes, constraints)
        return [translations[0].text for translations in found]

    def nbest(
        self,
        lines: Iterable[str],
        progress: Callable[[int], object] | None = None,
        first: int = 0,
        prefixes: Iterable[str] | None = None,
        constraints: Iterable[Sequence[str]] | None = None,
    ) -> list[list[Translation]]:
        """As `translate`: of each line its `nbest` translations, best first, and all that is known
        of them.

        A blank line has a single empty one. Arguments and errors are those of `translate`.
        """
        with noticed(progress) as report:
            lines = checked_lines(lines, first)
            return self._nbest(self._asked(lines, first, prefixes, constraints), report)

    def _nbest(
        self, asked: Sequence[Sequence[Part]], report: Callable[[int], object]
    ) -> list[list[Translation]]:
        """The translations of lines whose parts are searched for."""
        parts = [(number, part) for number, some in enumerate(asked) for part in some]
        unfinished = Counter(number for number, _ in parts)
        report(len(asked) - len(unfinished))  # blank lines
        found: dict[int, list[Translation]] = {}
        batches = list(self.batches([len(part.source.ids) for _, part in parts]))
        tasks = [[parts[i][1] for i in batch] for batch in batches]
        workers = self.search.workers
        at_once = batches_at_once(self.generator, len(batches)) if workers == 1 else 1
        made = batching.run_all(self._translate_batch, tasks, workers, at_once)
        for batch, translations in zip(batches, made, strict=True):
            found |= zip(batch, translations, strict=True)
            unfinished.subtract(parts[i][0] for i in batch)
            report(sum(unfinished[number] == 0 for number in {parts[i][0] for i in batch}))
        of_line: list[list[list[Translation]]] = [[] for _ in asked]
        for index, (number, _) in enumerate(parts):
            of_line[number].append(found[index])
        return list(map(joined, of_line))

    def translate_documents(
        self,
        documents: Iterable[Sequence[str]],
        gold: Iterable[Sequence[str]] | None = None,
        context: int = -1,
        lanes: int = 0,
        progress: Callable[[int], object] | None = None,
        first: int = 0,
    ) -> list[list[str]]:
        """Translate documents, each sentence with the memory of those before it.

        Several documents are translated at once, which changes nothing in the result. A blank line
        stays blank and leaves no memory; the parts of a line that is too long follow each other.

        Args:
            documents: the sentences of each, raw text.
            gold: translations of the same sentences to remember in place of ours, to analyse what
                a memory is worth; a line that is translated in parts, and one whose translation
                here is blank, keeps ours.
            context: sentences before a sentence that its memory is made of; -1 for all.
            lanes: documents that are open at once; 0 for as many as keep padding low.
            progress: called now and then with the number of lines finished since the last time.
            first: the number of the first line, from 0, for messages.

        Raises:
            UserError: for a model whose memory ends with its sentence, the generator `fairseq`,
                what is no text, or `gold` of another shape; before any line is translated.
            FloatingPointError: where the model gives no numbers.
        """
        found = self.nbest_documents(documents, gold, context, lanes, progress, first)
        return [[translations[0].text for translations in lines] for lines in found]

    def nbest_documents(
        self,
        documents: Iterable[Sequence[str]],
        gold: Iterable[Sequence[str]] | None = None,
        context: int = -1,
        lanes: int = 0,
        progress: Callable[[int], object] | None = None,
        first: int = 0,
    ) -> list[list[list[Translation]]]:
        """As `translate_documents`: of each sentence its `nbest` translations, best first, and all
        that is known of them.

        Later sentences remember the best one. A blank line has a single empty one. Arguments and
        errors are those of `translate_documents`.
        """
        search = DocumentSearch(self.generator, self.models, self.reader(), context)
        texts = [checked_lines(lines) for lines in documents]
        wanted = None if gold is None else checked_gold(gold, texts)
        whole = DocumentText(texts, wanted, self._source_parts, self.encode_target, first)
        with noticed(progress) as report:
            return translated_documents(self, search, whole, lanes, report)

    def score_documents(
        self,
        documents: Iterable[Sequence[str]],
        translations: Sequence[Sequence[Sequence[str]]],
        context: int = -1,
        lanes: int = 0,
    ) -> list[list[list[float]]]:
        """Log-probabilities of given translations of the sentences of documents, in context.

        The memory of a sentence is that of the first translations of those before it. A blank line
        leaves none, and its translations score 0; a line that is too long for the model keeps its
        beginning.

        Args:
            documents: the sentences of each, raw text.
            translations: of each sentence at least one.
            context: sentences before a sentence that its memory is made of; -1 for all.
            lanes: documents that are open at once; 0 for as many as keep padding low.

        Raises:
            UserError: for a model whose memory ends with its sentence, what is no text, or
                translations of another number of sentences.
        """
        texts = [checked_lines(lines) for lines in documents]
        firsts = [[some[0] for some in lines] for lines in translations]
        checked_gold(firsts, texts, "translations")
        scorer = DocumentScorer(self.reader(), context)
        return scored_documents(self, scorer, texts, translations, lanes)

    def reader(self) -> Reader:
        """What lets the models read pairs."""
        pad, left = self.task.source_dictionary.pad(), self.task.cfg.left_pad_source
        return Reader(self.models, pad, left)

    def encode_target(self, line: str) -> torch.Tensor:
        """A translation as the numbers of its subwords, the end symbol last."""
        words = self.task.target_dictionary
        return torch.tensor([*batching.numbers(self.pieces(line, True), words).ids, words.eos()])

    def score(
        self,
        lines: Iterable[str],
        translations: Iterable[str],
        progress: Callable[[int], object] | None = None,
        first: int = 0,
    ) -> list[Translation]:
        """The model's own score of each line's given translation.

        That is `log_prob`; `score` is the same over the number of its subwords and the end symbol.

        Args:
            lines: raw text.
            translations: of each line one, raw text; it may be blank.
            progress, first: see `translate`.

        Raises:
            UserError: for what is no text, another number of translations, or a pair that is longer
                than the model takes.
            FloatingPointError: where the model gives no numbers.
        """
        given = checked_lines(translations, first)
        with noticed(progress) as report:
            return scored(self, checked_lines(lines, first), given, report, first)

    def encode(self, line: str, number: int = 0) -> list[list[int]]:
        """A line as the subwords' numbers: one part, several where it is too long, none if blank.

        Args:
            line: raw text.
            number: of the line, from 0, for the message about a line that is cut.
        """
        return [part.ids for part in self._source_parts(line, number)]

    def _source_parts(self, line: str, number: int) -> list[Numbers]:
        pieces = self.pieces(line)
        parts = list(text.cut_between_words(pieces, self.max_source))
        if len(parts) > 1:
            logger.warning("line %d: %d subwords are more than the model takes (%d): translated"
                           " in %d parts", number + 1, len(pieces), self.max_source,
                           len(parts))  # fmt: skip
        return [batching.numbers(part, self.task.source_dictionary) for part in parts]

    def pieces(self, line: str, is_target: bool = False) -> list[str]:
        """The subwords of raw text, in the source's language or the target's."""
        before = self._before_target if is_target else self._before
        (ids,) = text.encode(self.subwords, [before(line)])
        return [self._symbols[number] for number in ids]

    def decode(self, tokens: torch.Tensor) -> str:
        """A hypothesis' numbers as raw text."""
        pieces = self.task.target_dictionary.string(tokens.tolist()).split(" ")
        return self._after(text.join(pieces))

    def _asked(
        self,
        lines: Sequence[str],
        first: int,
        prefixes: Iterable[str] | None,
        constraints: Iterable[Sequence[str]] | None,
    ) -> list[list[Part]]:
        """Of each line the parts that are searched for."""
        asked = [
            [Part(number, source) for source in self._source_parts(line, number)]
            for number, line in enumerate(lines, first)
        ]
        pieces = partial(self.pieces, is_target=True)
        wishes = Wishes(pieces, self.task.target_dictionary, self.search, self.generator.max_len)
        return wishes.added(asked, first, prefixes, constraints)

    def batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Numbers of what has these lengths, longest first, so that a set too large shows itself at
        once.
        """
        batch: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            # the first part of a batch is its longest; 1 for the end symbol
            tokens = (lengths[batch[0]] + 1) * (len(batch) + 1) if batch else 0
            if tokens > self.search.max_tokens or len(batch) == self.search.batch_size:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def translate_encoded(self, sources: Sequence[list[int]]) -> list[str]:
        """Translate sources that are numbers of subwords, without the end symbol, each alone."""
        words = self.task.source_dictionary
        parts = [
            Part(number, Numbers([words[i] for i in source], source))
            for number, source in enumerate(sources)
        ]
        found: dict[int, list[Translation]] = {}
        for batch in self.batches([len(source) for source in sources]):
            found |= zip(batch, self._translate_batch([parts[i] for i in batch]), strict=True)
        return [found[number][0].text for number in range(len(parts))]

    def _translate_batch(self, parts: Sequence[Part]) -> list[list[Translation]]:
        """Of each part its translations, best first."""
        more = {}
        if self.search.constraints:
            more["constraints"] = batching.constraint_tokens(parts)
        sample = self.sample([part.source.ids for part in parts], **more)
        order, device = sample["id"].tolist(), sample["id"].device
        pad = self.task.target_dictionary.pad()
        prefix = batching.prefix_tokens([parts[i] for i in order], pad)
        seed = self.search.seed + min(part.line for part in parts)
        draws = batching.drawn(seed, device) if self.search.sampling else contextlib.nullcontext()
        with torch.inference_mode(), draws, batching.constraints_explained(parts):
            found = self.task.inference_step(
                self.generator, self.models, sample,
                None if prefix is None else prefix.to(device), sample.get("constraints"),
            )  # fmt: skip
        row_of = {index: row for row, index in enumerate(order)}
        rows = [row_of[index] for index in range(len(parts))]
        sources = sample["net_input"]["src_tokens"]
        return [
            self.read(found[row], sources[row], part.source.pieces)
            for row, part in zip(rows, parts, strict=True)
        ]

    def sample(self, sources: Sequence[list[int]], **more: torch.Tensor) -> dict[str, Any]:
        """fairseq's batch of sources, on the models' device; "id" is the place of each."""
        eos = self.task.source_dictionary.eos()
        tokens = [torch.tensor([*source, eos]) for source in sources]
        dataset = self.task.build_dataset_for_inference(tokens, [len(x) for x in tokens], **more)
        sample = dataset.collater([dataset[i] for i in range(len(tokens))])
        device = next(self.models[0].parameters()).device
        return batching.moved(sample, device)

    def read(
        self, hypotheses: Sequence[dict[str, Any]], source: torch.Tensor, pieces: Sequence[str]
    ) -> list[Translation]:
        """The best of fairseq's hypotheses of a sentence.

        Args:
            hypotheses: best first.
            source: `(S,)`, its row of the batch.
            pieces: its subwords.
        """
        dictionary = self.task.target_dictionary
        is_source = source.ne(self.task.source_dictionary.pad()) if self.search.alignment else None
        return [
            reading.translation(one, self.decode, dictionary, pieces, is_source)
            for one in hypotheses[: self.search.nbest]
        ]


def checked_lines(lines: Iterable[str], first: int = 0) -> list[str]:
    """The lines as a list, each of them text.

    Args:
        lines: of `translate`.
        first: the number of the first line, from 0.

    Raises:
        UserError: for what is no list of texts, with the first wrong line's number from 1.
    """
    if isinstance(lines, str | bytes) or not isinstance(lines, Iterable):
        kind = "a single text" if isinstance(lines, str) else f"a {type(lines).__name__}"
        raise UserError(f"`lines` is {kind}: it has to be a list of sentences")
    checked = list(lines)
    for number, line in enumerate(checked, first + 1):
        if not isinstance(line, str):
            raise UserError(
                f"line {number} is of type {type(line).__name__}: it has to be text (str)"
            )
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"line {number} cannot be UTF-8: its character {error.start + 1} is half a"
                f" surrogate pair (U+{ord(line[error.start]):04X})"
            ) from None
    return checked


def checked_gold(
    gold: Iterable[Sequence[str]], texts: list[list[str]], name: str = "gold"
) -> list[list[str]]:
    """Translations to remember, a line for each line of the documents; `name` is the argument's.

    Raises:
        UserError: where they are others.
    """
    checked = [checked_lines(lines) for lines in gold]
    sizes, wanted = list(map(len, checked)), list(map(len, texts))
    if sizes != wanted:
        raise UserError(
            f"`{name}` has {sum(sizes)} lines in {len(sizes)} documents, but there are"
            f" {sum(wanted)} lines in {len(wanted)} documents to translate: they have to correspond"
        )
    return checked
