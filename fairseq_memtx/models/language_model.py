"""The memory decoders as language models, without cross-attention: the setting of their papers.

They work with fairseq's `--task language_modeling`, which shuffles blocks of text, so that a memory
ends with its block, and with `--task memtx_language_modeling`, which reads the text in order and
carries their memory from block to block. The Feedback memory is carried as far as
`--memtx-carry-len` says, and only without absolute positions.
"""

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models.transformer import TransformerConfig
from fairseq.models.transformer_lm import (
    TransformerLanguageModel,
    TransformerLanguageModelConfig,
)

from ..config import add_flags
from ..ground.errors import UserError
from .memory_decoder import MemoryDecoder


class MemoryLanguageModel(TransformerLanguageModel):
    """fairseq's language model with a `MemoryDecoder`; a subclass says which."""

    decoder_type: type[MemoryDecoder]

    @classmethod
    def hub_models(cls):
        """No pretrained model is published."""
        return {}

    @classmethod
    def add_args(cls, parser):
        """The flags of fairseq's `transformer_lm` and the decoder's own."""
        gen_parser_from_dataclass(parser, TransformerLanguageModelConfig(), delete_default=True)
        add_flags(parser, cls.decoder_type.options_type)

    @classmethod
    def build_model(cls, args, task):
        """fairseq's hook.

        Raises:
            UserError: for options that are impossible, alone or together.
        """
        for name in ("character_embeddings", "adaptive_input"):
            if getattr(args, name, False):
                raise UserError(f"--{name.replace('_', '-')} cannot be used with a memory decoder")
        if args.decoder_layers_to_keep:
            args.decoder_layers = len(args.decoder_layers_to_keep.split(","))
        if getattr(args, "max_target_positions", None) is None:
            args.max_target_positions = args.tokens_per_sample
        embed_tokens = cls.build_embedding(args, task.source_dictionary, args.decoder_input_dim)
        cfg = TransformerConfig.from_namespace(args)
        decoder = cls.decoder_type(cfg, task.target_dictionary, embed_tokens, no_encoder_attn=True)
        decoder.refuse_training(args)
        return cls(decoder)

    def forward(self, src_tokens, src_lengths=None, stream=None, **options):
        """Logits and extras of blocks `(B, T)`; `stream`, a `StreamBlock`, carries the memory."""
        if stream is None:
            return self.decoder(src_tokens, **options)
        options.update(memory=stream.read(id(self), src_tokens), keep_memory=True)
        logits, extra = self.decoder(src_tokens, **options)
        stream.write(id(self), extra.pop("memory"))
        return logits, extra
