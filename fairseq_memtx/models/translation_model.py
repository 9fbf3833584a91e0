"""fairseq's Transformer with a memory decoder in place of its own: what all our models share."""

from fairseq.models.transformer import TransformerModel


class MemoryTransformerModel(TransformerModel):
    """fairseq's encoder with a `MemoryDecoder`; a subclass says which, in `build_decoder`."""

    @classmethod
    def hub_models(cls):
        """No pretrained model is published."""
        return {}

    def set_beam_size(self, beam_size: int) -> None:
        """The generator's hook: lets the beams of a sentence share its keys and values."""
        self.decoder.set_beam_size(beam_size)
