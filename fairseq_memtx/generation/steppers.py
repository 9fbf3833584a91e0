"""Models as what `decoding.beam_search` steps through: one by one, and as ensembles.

Size legend: B sentences, beam (rows of a sentence at most), R rows a sentence (1 or beam), N = B *
R, S source positions, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from functools import singledispatch
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..decoding.beam_search import Move, Stepper
from ..decoding.encoder import FusedEncoder
from ..decoding.fused import FusedDecoder
from ..modules.lane_memory import LaneBatch
from ..modules.pair_memory import memory_option, source_side, target_side
from ..modules.segment_memory import SegmentMemory
from ..modules.stream_memory import Memory
from ..plain.encoder import Encoder

EncoderOut = dict[str, list[Tensor]]
Made = TypeVar("Made")


class HowToStep(NamedTuple):
    """What steppers are asked for.

    Attributes:
        beam_size: rows of a sentence.
        temperature: that logits are divided by.
        attention: whether the attention to the source is wanted.
        words: `(n,)`, the words to choose from; steppers then count words by their place in it.
            None for all.
    """

    beam_size: int
    temperature: float = 1.0
    attention: bool = False
    words: Tensor | None = None

    def named(self, tokens: Tensor) -> Tensor:
        """The dictionary's numbers of tokens."""
        return tokens if self.words is None else self.words[tokens]


class FusedStepper:
    """A decoder that `FusedDecoder` can run."""

    def __init__(
        self,
        weights: FusedDecoder,
        encoder_out: EncoderOut,
        how: HowToStep,
        memory: Memory | None = None,
    ):
        self.how = how
        masks = encoder_out["encoder_padding_mask"]
        source = encoder_out["encoder_out"][0]
        weights = weights if how.words is None else weights.for_words(how.words)
        mask = masks[0] if masks else None
        self.search = weights.begin_search(source, mask, how.beam_size, memory)

    def score_next(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        features, probs = self.search.features(self.how.named(tokens))
        log_probs = self.search.weights.log_probs(features, self.how.temperature)
        if not self.how.attention:
            return log_probs, None
        # (B, H, R, S) -> (N, S)
        return log_probs, probs.mean(dim=1).flatten(0, 1).float()

    def move(self, move: Move) -> None:
        self.search.move(move.parents, move.kept)


class IncrementalStepper:
    """Any decoder that keeps an incremental state as fairseq's do, by its own `forward`.

    All rows of a beam run from the first step on, since decoders expect that of fairseq's
    generator; of the first step one row a sentence is handed on.

    Args:
        model: it.
        encoder_out: of the encoder, in whatever form the model has it.
        sentences: `(B,)`, their numbers in it.
        how: what is asked for.
        memory: of the text before each sentence, which one of our decoders begins with; or None.
    """

    def __init__(
        self,
        model: Any,
        encoder_out: Any,
        sentences: Tensor,
        how: HowToStep,
        memory: Memory | None = None,
    ):
        self.model, self.how = model, how
        self.state: dict[str, Any] = {}
        rows = sentences.repeat_interleave(how.beam_size)
        self.encoder_out = model.encoder.reorder_encoder_out(encoder_out, rows)
        self.begins_with = memory_option(None if memory is None else memory.reorder(rows))
        self.prefixes: Tensor | None = None

    def score_next(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        first, tokens = self.prefixes is None, self.how.named(tokens)
        if self.prefixes is None:
            self.prefixes = tokens.repeat_interleave(self.how.beam_size).unsqueeze(1)
        else:
            self.prefixes = torch.cat([self.prefixes, tokens.unsqueeze(1)], dim=1)
        logits, extra = self.model.decoder(
            self.prefixes,
            encoder_out=self.encoder_out,
            incremental_state=self.state,
            **self.begins_with,
        )
        self.begins_with = {}  # from here on it is part of the state
        logits = logits[:, -1:].div_(self.how.temperature)
        log_probs = self.model.get_normalized_probs((logits, extra), log_probs=True, sample=None)
        log_probs, attention = log_probs[:, -1].float(), self._attention(extra)
        if self.how.words is not None:  # as if there were no other words
            log_probs = log_probs[:, self.how.words].log_softmax(-1)
        if not first:
            return log_probs, attention
        attention = None if attention is None else attention[:: self.how.beam_size]
        return log_probs[:: self.how.beam_size].contiguous(), attention

    def _attention(self, extra: Any) -> Tensor | None:
        """`(N, S)` of the newest position, from what the decoder returns beside its output."""
        if not self.how.attention or extra is None:
            return None
        found = extra if isinstance(extra, Tensor) else extra["attn"]
        found = found[0] if isinstance(found, list) else found
        return None if found is None else found[:, -1].float()

    def move(self, move: Move) -> None:
        assert self.prefixes is not None
        rows = move.rows(self.how.beam_size)
        self.prefixes = self.prefixes[rows]
        self.model.decoder.reorder_incremental_state_scripting(self.state, rows)
        if move.kept is not None:  # the rows of a sentence share its source
            self.encoder_out = self.model.encoder.reorder_encoder_out(self.encoder_out, rows)


class EnsembleStepper:
    """Several models: the mean of their probabilities."""

    def __init__(self, members: Sequence[Stepper]):
        self.members = members

    def score_next(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        found = [member.score_next(tokens) for member in self.members]
        log_probs = torch.stack([log_probs for log_probs, _ in found]).logsumexp(dim=0)
        attentions = [attention for _, attention in found if attention is not None]
        attention = sum(attentions[1:], attentions[0]) / len(found) if attentions else None
        return log_probs.sub_(math.log(len(found))), attention

    def move(self, move: Move) -> None:
        for member in self.members:
            member.move(move)


class PreparedModel:
    """A model's way to encode and to step, with weights prepared for it where that is possible."""

    def __init__(self, model: Any):
        self.model = model
        self.can_fuse = why_not_fused(model.decoder) is None
        self._decoder = Prepared(FusedDecoder, model, model.decoder)
        self._encoder: Prepared[FusedEncoder] | None = None
        if is_plain_encoder(model.encoder):
            self._encoder = Prepared(FusedEncoder, model, model.encoder)

    def encode(
        self, net_input: dict[str, Tensor], memory: SegmentMemory | None = None
    ) -> EncoderOut:
        """The encoder's output for the batch, in fairseq's form.

        Args:
            net_input: fairseq's.
            memory: of the sentences before, for an encoder that has one.
        """
        if self._encoder is None:
            return self.model.encoder.forward_torchscript({**net_input, **memory_option(memory)})
        output, mask = self._encoder.get()(net_input["src_tokens"])
        found = {"encoder_out": [output], "encoder_padding_mask": [] if mask is None else [mask]}
        missing = ("encoder_embedding", "encoder_states", "src_tokens", "src_lengths")
        return {**found, **{name: [] for name in missing}}

    def new_stepper(
        self, net_input: dict[str, Tensor], how: HowToStep, lanes: LaneBatch | None = None
    ) -> Stepper:
        """Begin a search for the sentences of the batch, after the memories in their lanes."""
        source = net_input["src_tokens"]
        before = None if lanes is None else lanes.read(id(self.model), source)
        encoder_out, memory = self.encode(net_input, source_side(before)), target_side(before)
        if self.can_fuse and (how.words is None or self.weights().output is not None):
            in_reach = None if memory is None else self.model.decoder.in_reach(memory)
            return FusedStepper(self.weights(), encoder_out, how, in_reach)
        sentences = torch.arange(len(source), device=source.device)
        return IncrementalStepper(self.model, encoder_out, sentences, how, memory)

    def weights(self) -> FusedDecoder:
        """The decoder's weights as they are now."""
        return self._decoder.get()


class Prepared(Generic[Made]):
    """What is made of a module's weights, and made anew when they are others.

    As long as the model may still be trained, that is at every call: fairseq's optimisers change
    weights behind autograd's back, so that no cheaper sign of it is safe.

    Args:
        make: of the module.
        model: that the module belongs to.
        module: an encoder or a decoder.
    """

    def __init__(self, make: Callable[[Any], Made], model: Any, module: Any):
        self._make, self.model, self._module = make, model, module
        self._made: Made | None = None
        self._weights = WeightsOf(module)
        self._made_of: list[int] = []

    def get(self) -> Made:
        """It, as the weights are now."""
        made_of = self._weights.now()
        if self._made is None or not is_final(self.model) or made_of != self._made_of:
            self._made, self._made_of = self._make(self._module), made_of
        return self._made


def is_final(model: Any) -> bool:
    """Whether fairseq has made a model ready for inference: it will not be trained any more."""
    return getattr(model, "_is_generation_fast", False)


class WeightsOf:
    """Tells whether the parameters of a module are the same as before.

    It keeps the dictionaries of all modules below it, and looks for them anew where a module was
    replaced: walking through them would take a twentieth of the time of translating a sentence.
    """

    def __init__(self, module: nn.Module):
        self._module = module
        self._every: list[nn.Module] = []  # kept, so that no other gets its number
        self._seen: list[int] = []
        self._children: list[dict[str, nn.Module | None]] = []
        self._parameters: list[dict[str, nn.Parameter | None]] = []

    def now(self) -> list[int]:
        """Where each parameter lies and how often it was changed."""
        if not self._seen or self._modules() != self._seen:
            self._every = list(self._module.modules())
            self._children = [module._modules for module in self._every]
            self._parameters = [module._parameters for module in self._every]
            self._seen = self._modules()
        every = chain.from_iterable(map(dict.values, self._parameters))
        parameters = [parameter for parameter in every if parameter is not None]
        return [*map(Tensor.data_ptr, parameters), *map(attrgetter("_version"), parameters)]

    def _modules(self) -> list[int]:
        return [id(self._module), *map(id, chain.from_iterable(map(dict.values, self._children)))]


@singledispatch
def why_not_fused(decoder: Any) -> str | None:
    """What about a decoder `FusedDecoder` cannot run; None if it can.

    A decoder that knows says so itself; `fairseq_coders` says it of fairseq's.
    """
    if not hasattr(decoder, "why_not_fused") or len(decoder.layers) == 0:
        return "it is no Transformer decoder"
    if any(layer.encoder_attn is None for layer in decoder.layers):
        return "it has no cross-attention"
    return decoder.why_not_fused()


@singledispatch
def is_plain_encoder(encoder: Any) -> bool:
    """Whether `FusedEncoder` can run an encoder."""
    return type(encoder) is Encoder
