"""fairseq's Transformer with a memory decoder in place of its own."""

import copy

from fairseq.models.transformer import TransformerConfig, TransformerModel

from ..config import EncoderOptions, add_flags, from_namespace
from ..plain.model import in_lanes
from .memory_decoder import MemoryDecoder
from .memory_encoder import MemoryEncoder


class MemoryTransformerModel(TransformerModel):
    """fairseq's encoder, or a `MemoryEncoder`, with a `MemoryDecoder`; a subclass says which."""

    decoder_type: type[MemoryDecoder]

    @classmethod
    def hub_models(cls):
        """No pretrained model is published."""
        return {}

    @classmethod
    def add_args(cls, parser):
        """The Transformer's flags, the encoder's and the decoder's own."""
        super().add_args(parser)
        add_flags(parser, EncoderOptions)
        add_flags(parser, cls.decoder_type.options_type)

    @classmethod
    def build_encoder(cls, args, src_dict, embed_tokens):
        """fairseq's hook.

        `--no-token-positional-embeddings` leaves out the positions of both sides. Where the decoder
        has relative ones instead it is meant for the decoder: an encoder without any would not know
        the order of its words.

        Raises:
            UserError: for options that are impossible, alone or together.
        """
        options = from_namespace(args, EncoderOptions)
        if options.encoder_memory > 0:
            cfg = TransformerConfig.from_namespace(args)
            return MemoryEncoder(cfg, options, src_dict, embed_tokens)
        if cls.decoder_type.counts_distances(args):
            args = copy.copy(args)
            args.no_token_positional_embeddings = False
        return super().build_encoder(args, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, args, tgt_dict, embed_tokens):
        """fairseq's hook.

        Raises:
            UserError: for options that are impossible, alone or together.
        """
        cfg = TransformerConfig.from_namespace(args)
        decoder = cls.decoder_type(
            cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention
        )
        decoder.refuse_training(args)
        return decoder

    def forward(self, src_tokens, src_lengths, prev_output_tokens, lanes=None, **options):
        """Logits and extras `(B, T, V)` of a batch of sentences.

        `lanes`, a `LaneBatch`, carries memories from the sentences before to those after; the other
        options are fairseq's.
        """
        if lanes is None:
            return super().forward(src_tokens, src_lengths, prev_output_tokens, **options)
        return in_lanes(self, lanes, src_tokens, src_lengths, prev_output_tokens, **options)

    def set_beam_size(self, beam_size: int) -> None:
        """The generator's hook: lets the beams of a sentence share its keys and values."""
        self.decoder.set_beam_size(beam_size)
