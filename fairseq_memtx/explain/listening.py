"""What a decoder attends to while it writes a given translation, position by position.

The decoder makes the steps that a search makes, with the words given. Its attentions are heard as
they compute, no formula is written a second time: ours offer a `listener`, fairseq's and the
attention to the source return their probabilities, which torch's hooks hear. Nothing listens
otherwise. fairseq is not imported: a model of a folder has none of it.

Size legend: N rows, T target positions (subwords and the end symbol), S source positions, H heads,
t entries of the past, L layers.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..ground.errors import UserError
from ..modules.cross_attention import CrossAttention
from ..modules.layer import MemoryAttention
from ..modules.mixture import LayerMixture
from ..modules.pair_memory import memory_option, source_side, target_side
from ..modules.segment_attention import InView, SegmentAttention
from ..plain.feedback_steps import FeedbackSteps
from ..plain.self_attention import SelfAttention

Hear = Callable[[Tensor], None]


@dataclass
class LayerReads:
    """What one layer attended to, an entry for each step.

    Attributes:
        source: `(N, H, S)`, over the source; no entries without cross-attention.
        past: `(N, H, t)`, over what the layer sees of the past, oldest first.
        in_view: what the entries of the past are, where the decoder works in segments.
    """

    source: list[Tensor] = field(default_factory=list)
    past: list[Tensor] = field(default_factory=list)
    in_view: list[InView] = field(default_factory=list)

    def hear_segments(self, probs: Tensor, in_view: InView) -> None:
        """The listener of a `SegmentAttention`."""
        self.past.append(probs)
        self.in_view.append(in_view)


@dataclass(frozen=True)
class ForcedPass:
    """A translation written once more.

    Attributes:
        token_scores: T natural logarithms of the subwords' and the end symbol's probabilities.
        layers: L of them, whose tensors have one row.
        mixtures: T of `(channels, states)`, of which states the memory of a position was mixed;
            none for a decoder that mixes no layers.
    """

    token_scores: list[float]
    layers: list[LayerReads]
    mixtures: list[Tensor]


@torch.inference_mode()
def forced(model: Any, source: Tensor, tokens: Tensor, memory: Any = None) -> ForcedPass:
    """Let a model write a translation.

    Args:
        model: a translation model of fairseq's or of a folder, ready for inference.
        source: `(S,)`, the end symbol last.
        tokens: `(T,)`, the translation, the end symbol last.
        memory: of the text before, of one row, for a model that takes one.

    Raises:
        UserError: for a decoder whose attentions offer nothing to hear.
    """
    inputs = torch.cat([tokens[-1:], tokens[:-1]])[None]
    begins_with = memory_option(target_side(memory))
    state: dict[str, Any] = {}
    scores: list[float] = []
    with (
        listening(model.decoder) as layers,
        hearing_mixtures(model.decoder) as mixtures,
        one_beam(model.decoder),
    ):
        lengths = source.new_tensor([source.numel()])
        read_before = memory_option(source_side(memory))
        encoder_out = model.encoder(source[None], src_lengths=lengths, **read_before)
        for number, token in enumerate(tokens.tolist(), 1):
            logits, extra = model.decoder(
                inputs[:, :number], encoder_out=encoder_out, incremental_state=state, **begins_with
            )
            begins_with = {}  # from here on it is part of the state
            log_probs = model.get_normalized_probs(
                (logits[:, -1:], extra), log_probs=True, sample=None
            )
            scores.append(float(log_probs[0, -1, token]))
    return ForcedPass(scores, layers, mixtures)


def layers_of(decoder: Any) -> list[Any]:
    """The layers of a decoder that attend to the past.

    Raises:
        UserError: for a decoder that has none.
    """
    # Iterating over them would draw what layer drop keeps.
    layers = list(getattr(getattr(decoder, "layers", None), "_modules", {}).values())
    if not layers or not all(hasattr(layer, "self_attn") for layer in layers):
        raise _not_shown(type(decoder).__name__)
    return layers


def _not_shown(name: str) -> UserError:
    return UserError(
        f"of a {name} it cannot be shown what it attends to: give a model with one of our decoders"
        " or fairseq's Transformer"
    )


@contextmanager
def listening(decoder: Any) -> Iterator[list[LayerReads]]:
    """Hear what each layer of a decoder attends to in its steps, while the block lasts.

    Raises:
        UserError: for a decoder whose attentions offer nothing to hear.
    """
    layers = layers_of(decoder)
    reads = [LayerReads() for _ in layers]
    with ExitStack() as stack:
        for layer, own in zip(layers, reads, strict=True):
            _listen_to_past(layer.self_attn, own, stack)
            if getattr(layer, "encoder_attn", None) is not None:
                _listen_to_source(layer.encoder_attn, own.source.append, stack)
        yield reads


def _listen_to_past(attention: nn.Module, reads: LayerReads, stack: ExitStack) -> None:
    if isinstance(attention, MemoryAttention | SelfAttention):
        stack.callback(setattr, attention, "listener", None)
        attention.listener = reads.past.append
    elif isinstance(attention, SegmentAttention):
        stack.callback(setattr, attention, "listener", None)
        attention.listener = reads.hear_segments
    else:
        _listen_to_fairseqs(attention, reads.past.append, stack)


def _listen_to_source(attention: nn.Module, hear: Hear, stack: ExitStack) -> None:
    if isinstance(attention, CrossAttention):
        handle = attention.register_forward_hook(lambda module, args, output: hear(output[1]))
        stack.callback(handle.remove)
    else:
        _listen_to_fairseqs(attention, hear, stack)


def _listen_to_fairseqs(attention: nn.Module, hear: Hear, stack: ExitStack) -> None:
    """Hear fairseq's attention in a step of a search, of whose heads it must be told to tell."""
    if not is_fairseqs(attention):
        raise _not_shown(type(attention).__name__)
    wanted = {"need_weights": True, "need_head_weights": True}
    handles = (
        attention.register_forward_pre_hook(
            lambda module, args, kwargs: (args, kwargs | wanted), with_kwargs=True
        ),
        # (H, N, 1, keys) -> (N, H, keys)
        attention.register_forward_hook(
            lambda module, args, output: hear(output[1].squeeze(2).transpose(0, 1))
        ),
    )
    for handle in handles:
        stack.callback(handle.remove)


def is_fairseqs(attention: nn.Module) -> bool:
    """Whether it is fairseq's multi-head attention."""
    name = "fairseq.modules.multihead_attention", "MultiheadAttention"
    return name in [(kind.__module__, kind.__name__) for kind in type(attention).__mro__]


@contextmanager
def hearing_mixtures(decoder: Any) -> Iterator[list[Tensor]]:
    """Hear of which states a Feedback decoder mixes a position's memory, `(channels, states)`."""
    found: list[Tensor] = []

    def hear(mixture: nn.Module, args: tuple[Any, ...]) -> None:
        (states,) = args
        assert isinstance(mixture, LayerMixture)
        found.append(mixture.mean_shares([x[None] for x in states], None))

    with ExitStack() as stack:
        if isinstance(decoder, FeedbackSteps):
            handle = decoder.memory.mixture.register_forward_pre_hook(hear)
            stack.callback(handle.remove)
        yield found


@contextmanager
def one_beam(decoder: Any) -> Iterator[None]:
    """Let a row be a sentence of its own, whatever beam a search before has set."""
    before = getattr(decoder, "_beam_size", 1)
    decoder.set_beam_size(1)
    try:
        yield
    finally:
        decoder.set_beam_size(before)
