"""fairseq's Transformer with a memory decoder in place of its own: what all our models share."""

import copy
from collections.abc import Callable

from fairseq.models import register_model_architecture
from fairseq.models.transformer import TransformerModel, transformer_legacy

# The usual size variants, with the sizes of fairseq's Transformer of the same name. The function
# of an architecture only fills in what neither the command line nor the checkpoint gives.
SIZES: dict[str, Callable] = {
    "": transformer_legacy.base_architecture,
    "_tiny": transformer_legacy.tiny_architecture,
    "_iwslt_de_en": transformer_legacy.transformer_iwslt_de_en,
    "_wmt_en_de": transformer_legacy.transformer_wmt_en_de,
    "_wmt_en_de_big": transformer_legacy.transformer_wmt_en_de_big,
}


def register_sizes(model: str) -> None:
    """Register the architectures `model`, `model_tiny`, ... of a registered model."""
    for ending, fill_in in SIZES.items():
        register_model_architecture(model, model + ending)(fill_in)


class MemoryTransformerModel(TransformerModel):
    """fairseq's encoder with a `MemoryDecoder`; a subclass says which, in `build_decoder`."""

    @classmethod
    def hub_models(cls):
        """No pretrained model is published."""
        return {}

    @classmethod
    def build_encoder(cls, args, src_dict, embed_tokens):
        """fairseq's hook.

        `--no-token-positional-embeddings` leaves out the positions of both sides. Where the decoder
        has relative ones instead it is meant for the decoder: an encoder without any would not know
        the order of its words.
        """
        if cls.has_relative_positions(args):
            args = copy.copy(args)
            args.no_token_positional_embeddings = False
        return super().build_encoder(args, src_dict, embed_tokens)

    @classmethod
    def has_relative_positions(cls, args) -> bool:
        """Whether the decoder counts distances, whatever absolute positions it has."""
        return True

    def set_beam_size(self, beam_size: int) -> None:
        """The generator's hook: lets the beams of a sentence share its keys and values."""
        self.decoder.set_beam_size(beam_size)
