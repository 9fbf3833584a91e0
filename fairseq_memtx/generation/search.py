"""Our search for a batch, with arguments and results of fairseq's generator: `generator` puts it
under fairseq's class, `plain_generator` under one of our own.
"""

import copy
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ..config import GeneratorOptions, flag
from ..decoding.beam_search import BeamSearch
from ..decoding.history import Hypothesis
from ..decoding.search_options import Limits, SearchOptions, places
from ..decoding.shortlist import Shortlist, fingerprint
from ..ground.errors import UserError
from ..modules.lane_memory import LaneBatch
from ..modules.rounding import is_rounded
from ..native.searches import NativeSearches
from .graph_searches import GraphSearches
from .steppers import EnsembleStepper, HowToStep, PreparedModel

logger = logging.getLogger(__name__)

Sample = dict[str, Any]


class BatchSearch:
    """Searches batches.

    A batch may have a `LaneBatch` under "lanes": its sentences then go on from the memories there,
    with limits of their own.

    Whoever takes it in has what fairseq's generator knows of a search, by the same names:
    `beam_size`, `vocab_size`, `pad`, `unk`, `eos`, `max_len_a`, `max_len_b`, `min_len`, `max_len`,
    `normalize_scores`, `len_penalty`, `unk_penalty`, `temperature`, `match_source_len` and
    `repeat_ngram_blocker`.

    Attributes:
        prepared: the models.
        wants_attention: whether hypotheses carry the attention to the source.
        own_limits: whether each sentence may have as many words as it might have in a batch of its
            own; in fairseq, the longest source of the batch says how many all may have.
    """

    wants_attention, own_limits = False, False
    beam_size: int
    vocab_size: int
    pad: int
    unk: int
    eos: int
    max_len_a: float
    max_len_b: int
    min_len: int
    max_len: int
    normalize_scores: bool
    len_penalty: float
    unk_penalty: float
    temperature: float
    match_source_len: bool
    repeat_ngram_blocker: Any
    generate: Any

    def prepare_search(
        self,
        models: Iterable[Any],
        beam_size: int,
        shortlist: Shortlist | None = None,
        graphs: GraphSearches | None = None,
        native: NativeSearches | None = None,
    ) -> None:
        """What is searched with; to be called when the generator is made.

        Args:
            models: one, or those of an ensemble.
            beam_size: as it was asked for.
            shortlist: the words that a batch's translations may have; None for all.
            graphs: searches on the device alone, where they can; None for none.
            native: searches by the native engine, where it can; None for none.

        Raises:
            UserError: for a beam that the vocabulary, or the shortlist, is too small for.
        """
        self.shortlist, self.graphs, self.native = shortlist, graphs, native
        self._refuse_wide_beams(beam_size)
        self.prepared: Sequence[PreparedModel] = [PreparedModel(model) for model in models]
        self._told_of_lanes = False

    def with_beam(self, beam_size: int, len_penalty: float) -> Self:
        """The same search with another beam and length penalty; all that is prepared is shared.

        Raises:
            UserError: for a beam that the vocabulary, or the shortlist, is too small for.
        """
        self._refuse_wide_beams(beam_size)
        made = copy.copy(self)
        made.beam_size, made.len_penalty = beam_size, len_penalty
        return made

    def _refuse_wide_beams(self, beam_size: int) -> None:
        """Each row must have another word to go on with, which is neither padding nor the end."""
        most = self.vocab_size - 2
        if beam_size > most:
            raise refusal(
                f"--beam is {beam_size}: it has to be at most {most}, the vocabulary's size less 2"
            )
        if self.shortlist is None:
            return
        symbols = torch.tensor([self.pad, self.unk, self.eos])
        most = len(torch.cat([self.shortlist.always, symbols]).unique()) - 2
        if beam_size > most:
            raise UserError(
                f"--beam is {beam_size}: with {flag('shortlist')} it has to be at most {most}, the"
                " words that are always in it less 2; make one with more --frequent words"
            )

    def _generate(self, sample, prefix_tokens=None, constraints=None, bos_token=None):
        if constraints is not None:
            raise refusal("--constraints cannot be used")
        net_input = sample["net_input"]
        source = net_input["src_tokens"]
        source_lengths = net_input["src_lengths"]
        options = self._search_options(source, source_lengths, bos_token)
        found = self._find(net_input, options, prefix_tokens, sample.get("lanes"))
        return self._finalized(found, source_lengths)

    def _find(
        self,
        net_input: Sample,
        options: SearchOptions,
        prefix_tokens: Tensor | None,
        lanes: LaneBatch | None,
    ) -> list[Hypothesis]:
        """All hypotheses of a batch."""
        source, source_lengths = net_input["src_tokens"], net_input["src_lengths"]
        words = self._words(source, prefix_tokens, options)
        how = HowToStep(self.beam_size, self.temperature, self.wants_attention, words)
        if words is not None:
            options = options.by_place(words)
            prefix_tokens = None if prefix_tokens is None else places(words, prefix_tokens)
        limits = Limits(prefix_tokens, source_lengths if self.match_source_len else None)
        if self.own_limits or lanes is not None:
            limits = limits._replace(longest=self._longest(source_lengths, options))
        elsewhere = self._find_elsewhere(net_input, options, how, limits, lanes)
        if elsewhere is not None:
            return elsewhere
        steppers = [model.new_stepper(net_input, how, lanes) for model in self.prepared]
        stepper = steppers[0] if len(steppers) == 1 else EnsembleStepper(steppers)
        search = BeamSearch(options, stepper, len(source), source.device, limits)
        found = search.find_hypotheses()
        if words is not None:
            found = [hypothesis._replace(tokens=words[hypothesis.tokens]) for hypothesis in found]
        return found

    def _find_elsewhere(
        self,
        net_input: Sample,
        options: SearchOptions,
        how: HowToStep,
        limits: Limits,
        lanes: LaneBatch | None,
    ) -> list[Hypothesis] | None:
        """All hypotheses of a batch, by other means than PyTorch's steps; None for no such."""
        found = None
        if self.graphs is not None and lanes is None:
            found = self.graphs.find(self.prepared, net_input, options, how, limits)
        elif self.graphs is not None:
            self._tell_of_lanes()
        if found is None and self.native is not None:
            found = self.native.find(self.prepared, net_input, options, how, limits, lanes)
        return found

    def _longest(self, source_lengths: Tensor, options: SearchOptions) -> Tensor | None:
        """`(B,)`: words of each sentence's hypotheses at most, by its own source; None where all
        have the limit of the batch.

        Raises:
            UserError: where one may not be as long as each must be.
        """
        if self.match_source_len:
            return None
        # in float64, as Python multiplies where there is one limit
        by_source = (self.max_len_a * source_lengths.double() + self.max_len_b).long()
        longest = by_source.clamp(max=options.max_len)
        least = int(longest.min())
        if least < self.min_len:
            raise refusal_of_min_len(self.min_len, least)
        return None if least == options.max_len else longest

    def _tell_of_lanes(self) -> None:
        if not self._told_of_lanes:
            logger.info("searching documents without recorded steps, which begin each sentence"
                        " without memory")  # fmt: skip
        self._told_of_lanes = True

    def _words(
        self, source: Tensor, prefix: Tensor | None, options: SearchOptions
    ) -> Tensor | None:
        """The words `(n,)` that this batch may have, sorted; None for all."""
        if self.shortlist is None:
            return None
        needed = [torch.tensor([options.pad, options.unk, options.eos, options.bos])]
        return self.shortlist.words(source, needed if prefix is None else [*needed, prefix])

    def _search_options(self, source: Tensor, source_lengths: Tensor, bos_token) -> SearchOptions:
        if self.match_source_len:
            max_len = int(source_lengths.max())
        else:
            by_source = int(self.max_len_a * source.size(1) + self.max_len_b)
            max_len = min(by_source, self.max_len - 1)
        if self.min_len > max_len:
            raise refusal_of_min_len(self.min_len, max_len)
        blocker = self.repeat_ngram_blocker
        return SearchOptions(
            beam_size=self.beam_size,
            max_len=max_len,
            min_len=self.min_len,
            pad=self.pad,
            unk=self.unk,
            eos=self.eos,
            bos=self.eos if bos_token is None else bos_token,
            unk_penalty=self.unk_penalty,
            no_repeat_ngram_size=0 if blocker is None else blocker.no_repeat_ngram_size,
        )

    def _finalized(
        self, found: list[Hypothesis], source_lengths: Tensor
    ) -> list[list[dict[str, Tensor]]]:
        """fairseq's form: for each sentence its hypotheses, best first.

        Raises:
            UserError: where a sentence has none, because what is asked for contradicts itself.
        """
        finalized: list[list[dict[str, Tensor]]] = [[] for _ in source_lengths]
        scores = self._scores(found, source_lengths)
        # numbers are compared on the host, all at once: one by one takes as long as a step
        by_score = sorted(enumerate(scores.tolist()), key=lambda numbered: -numbered[1])
        each, empty = scores.unbind(), torch.empty(0)
        for number, _ in by_score:
            one = found[number]
            finalized[one.sentence].append(
                {
                    "tokens": one.tokens,
                    "score": each[number],
                    "attention": empty if one.attention is None else one.attention,
                    "alignment": empty,
                    "positional_scores": one.word_scores,
                }
            )
        if not all(finalized):
            raise UserError(
                "a sentence has no translation that keeps to all of its prefix, --min-len,"
                " --match-source-len, --no-repeat-ngram-size and --unkpen: ask for less"
            )
        return finalized

    def _scores(self, found: list[Hypothesis], source_lengths: Tensor) -> Tensor:
        """Of each hypothesis `(h,)`, by which those of a sentence are ordered."""
        if not found:
            return torch.empty(0)
        scores = torch.stack([hypothesis.total for hypothesis in found])
        lengths = [hypothesis.tokens.numel() for hypothesis in found]
        if self.normalize_scores:
            scores = scores / scores.new_tensor([n**self.len_penalty for n in lengths])
        if self.match_source_len:
            most = source_lengths.tolist()
            ends = zip(found, lengths, strict=True)
            too_long = [n - 1 > most[hypothesis.sentence] for hypothesis, n in ends]
            scores = scores.masked_fill(torch.tensor(too_long).to(scores.device), -torch.inf)
        return scores


def refusal_of_min_len(given: int, most: int) -> UserError:
    """What is said of a translation that would have to be longer than it may be."""
    return UserError(f"--min-len is {given}: it has to be at most {most}")


def batches_at_once(generator: Any, batches: int) -> int:
    """How many of the coming batches threads of their own may search at the same time.

    More than one only where the native engine searches and nothing else computes, for PyTorch has
    threads of its own.
    """
    ours = isinstance(generator, BatchSearch) and not generator.wants_attention
    if not ours or generator.native is None:
        return 1
    return generator.native.search_at_once(generator.prepared, batches)


def own_settings(
    options: GeneratorOptions, source_dictionary: Any, target_dictionary: Any
) -> dict[str, Any]:
    """The arguments of `FastGenerator` that are not fairseq's.

    Raises:
        UserError: where the shortlist is unusable or for other dictionaries.
    """
    graphs = GraphSearches() if options.generator == "cuda-graphs" else None
    native = NativeSearches() if options.generator == "fast" and options.native == "on" else None
    own: dict[str, Any] = {"shortlist": None, "graphs": graphs, "native": native}
    if not options.shortlist:
        return own
    sizes = len(source_dictionary), len(target_dictionary)
    made_for = fingerprint(source_dictionary.symbols, target_dictionary.symbols)
    try:
        shortlist = Shortlist.load(Path(options.shortlist), *sizes, made_for)
    except ValueError as error:
        raise UserError(f"{flag('shortlist')}: {error}") from None
    return {**own, "shortlist": shortlist}


def check_eight_bits(models: Iterable[Any]) -> None:
    """Models whose weights are in eight bits compute on a CPU, the rest of them in float32.

    Raises:
        UserError: where one is elsewhere, or was made half precision.
    """
    for model in models:
        sample = next(model.parameters(), None)
        if sample is None or not is_rounded(model):
            continue
        if sample.device.type != "cpu":
            raise UserError(f"a model in eight bits runs on a CPU only, not on {sample.device}")
        if sample.dtype != torch.float32:
            raise UserError(
                f"a model in eight bits computes the rest in float32, not in {sample.dtype}: leave"
                " half precision out"
            )


def refusal(reason: str) -> UserError:
    """The error for what the generator does not know."""
    name = flag("generator")
    return UserError(f"{reason} with {name} fast or cuda-graphs: leave {name} out")
