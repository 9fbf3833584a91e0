"""Encoders and decoders as lists of layers, of which layer drop may leave some out."""

from typing import Any

from torch import nn


class Layered(nn.Module):
    """What has `layers`, a list of modules that may draw which of them to drop."""

    layers: Any

    def all_layers(self) -> list[Any]:
        """The layers, layer drop or not; iterating over `layers` itself draws which to drop."""
        return list(self.layers._modules.values())

    def kept_layers(self) -> list[Any]:
        """All layers, None for those that layer drop leaves out of this pass."""
        kept = {id(layer) for layer in self.layers}
        return [layer if id(layer) in kept else None for layer in self.all_layers()]
