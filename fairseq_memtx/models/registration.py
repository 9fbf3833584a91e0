"""Makes fairseq's models of a decoder: for translation, in the usual sizes, and of language."""

import sys
from collections.abc import Callable
from typing import Any

from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import transformer_legacy
from fairseq.models.transformer_lm import base_lm_architecture

from ..decoders import DECODERS
from .language_model import MemoryLanguageModel
from .memory_decoder import MemoryDecoder
from .translation_model import MemoryTransformerModel

# The usual size variants, with the sizes of fairseq's Transformer of the same name. The function
# of an architecture only fills in what neither the command line nor the checkpoint gives.
SIZES: dict[str, Callable[[Any], None]] = {
    "": transformer_legacy.base_architecture,
    "_tiny": transformer_legacy.tiny_architecture,
    "_iwslt_de_en": transformer_legacy.transformer_iwslt_de_en,
    "_wmt_en_de": transformer_legacy.transformer_wmt_en_de,
    "_wmt_en_de_big": transformer_legacy.transformer_wmt_en_de_big,
}


def decoder_of(name: str) -> Callable[[type[MemoryDecoder]], type[MemoryDecoder]]:
    """A decorator that registers the decoder of this name in `DECODERS` with fairseq."""

    def register(decoder: type[MemoryDecoder]) -> type[MemoryDecoder]:
        entry = DECODERS[name]
        decoder.memtx_name = name
        assert entry.options is not None, f"the decoder {name} has no options"
        decoder.options_type = entry.options
        register_model(entry.architecture)(_model(MemoryTransformerModel, decoder))
        for ending, fill_in in SIZES.items():
            register_model_architecture(entry.architecture, entry.architecture + ending)(fill_in)
        register_model(entry.language_model)(_model(MemoryLanguageModel, decoder))
        register_model_architecture(entry.language_model, entry.language_model)(
            base_lm_architecture
        )
        return decoder

    return register


def _model(base: type, decoder: type[MemoryDecoder]) -> type:
    """A model with this decoder."""
    stem, ending = decoder.__name__.removesuffix("Decoder"), base.__name__.removeprefix("Memory")
    members = {
        "__doc__": f"A `{base.__name__}` with a `{decoder.__name__}`.",
        "__module__": decoder.__module__,
        "decoder_type": decoder,
    }
    model = type(stem + ending, (base,), members)
    # Where pickle looks for it.
    setattr(sys.modules[decoder.__module__], model.__name__, model)
    return model
