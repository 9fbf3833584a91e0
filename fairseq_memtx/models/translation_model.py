"""fairseq's Transformer with a memory decoder in place of its own: what all our models share."""

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

    def set_beam_size(self, beam_size: int) -> None:
        """The generator's hook: lets the beams of a sentence share its keys and values."""
        self.decoder.set_beam_size(beam_size)
