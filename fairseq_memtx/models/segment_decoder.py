"""A decoder whose past is a bounded memory: what Transformer-XL and Compressive have in common.

The decoder has no absolute positions, only relative ones.
"""

import torch
from torch import Tensor, nn

from ..config import SegmentOptions, flag, from_namespace
from ..ground.errors import UserError
from ..modules.segment_attention import SegmentAttention
from ..plain.segment_steps import SegmentSteps, segment_layer, without_memory
from .checkpointed_stack import CheckpointedStack
from .memory_decoder import MemoryDecoder, layer_sizes, layers_kept


class SegmentDecoder(CheckpointedStack, SegmentSteps, MemoryDecoder):
    """Decoder that processes a target in segments, each seeing a bounded memory of those before.

    Args:
        cfg: fairseq's `TransformerConfig`, with the `memtx_` settings of `options_type`.
        dictionary: the target dictionary.
        embed_tokens: the target embedding.
        no_encoder_attn: build the layers without cross-attention.

    Raises:
        UserError: for options that are impossible, alone or together.
    """

    options: SegmentOptions

    def __init__(self, cfg, dictionary, embed_tokens, no_encoder_attn=False):
        if cfg.decoder.learned_pos:
            raise UserError(
                "--decoder-learned-pos cannot be used with a decoder whose positions are relative:"
                f" leave it out, or see {flag('position_keys')} learned"
            )
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn=no_encoder_attn)
        self.embed_positions = None
        with_memory = memory_of_layers(cfg, self.options)
        for layer, has_memory in zip(self.all_layers(), with_memory, strict=True):
            without_memory(layer, has_memory)

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        """fairseq's hook: one layer."""
        sizes = layer_sizes(cfg, no_encoder_attn)
        options = from_namespace(cfg, self.options_type)
        try:
            return segment_layer(sizes, options)
        except ValueError as error:
            raise UserError(f"--decoder-embed-dim: {error}") from None

    def touch_all(self, x: Tensor) -> Tensor:
        """x, with a gradient of zero for parameters that this target may not use.

        Distributed training wants a gradient for every parameter in every step, and a short target
        compresses nothing.
        """
        if not (self.training and torch.is_grad_enabled()):
            return x
        rarely = [p for layer in self.all_layers() for p in rarely_used(layer.self_attn)]
        return x + 0.0 * sum(p.sum() for p in rarely) if rarely else x


def memory_of_layers(cfg, options: SegmentOptions) -> list[bool]:
    """Whether each layer that is built has a memory; numbers are those of the unpruned decoder.

    Raises:
        UserError: for a number that is none, or that no layer has.
    """
    kept = layers_kept(cfg) or list(range(cfg.decoder.layers))
    if options.memory_layers == "all":
        return [True] * len(kept)
    numbers = [number.strip() for number in str(options.memory_layers).split(",")]
    wrong = [number for number in numbers if not number.isdecimal()]
    if layers_kept(cfg) is None:
        wrong += [n for n in numbers if n.isdecimal() and int(n) >= cfg.decoder.layers]
    if wrong:
        raise UserError(
            f"{flag('memory_layers')} has {wrong[0]!r}: it has to be all or numbers of decoder"
            f" layers from 0 to {cfg.decoder.layers - 1}"
        )
    return [str(number) in numbers for number in kept]


def rarely_used(attention: SegmentAttention) -> list[nn.Parameter]:
    """Parameters that only a target of several segments uses."""
    modules = (attention.compression, attention.rebuild)
    return [p for module in modules if module is not None for p in module.parameters()]
