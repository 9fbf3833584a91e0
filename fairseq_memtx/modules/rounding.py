"""A whole model, ours or fairseq's own, with its linear layers in eight bits.

Embeddings, norms and attention's products between activations stay in float.
"""

import logging

from torch import nn

from .int8 import Int8Linear, round_linears

logger = logging.getLogger(__name__)

# Projects distances, a table that is kept; its weight is read directly.
KEEP = ("r_proj",)

#: In the model's settings of a checkpoint: its weights are stored in eight bits.
ROUNDED = "memtx_int8"


def round_model(model: nn.Module) -> nn.Module:
    """Round the linear layers in place, for decoding on a CPU; returns the model.

    A model that is rounded already stays as it is.
    """
    model.eval()  # whose result fairseq forgets once a model is prepared for inference
    count = round_linears(model, KEEP)
    for module in model.modules():
        if hasattr(module, "skip_embed_dim_check"):
            # Else fairseq's attention hands the weights of its projections, which are gone, to
            # PyTorch's.
            module.skip_embed_dim_check = True  # type: ignore[assignment]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if count:
        logger.info("%d linear layers have weights in eight bits", count)
    return model


def is_rounded(model: nn.Module) -> bool:
    """Whether any layer has its weights in eight bits."""
    return any(isinstance(module, Int8Linear) for module in model.modules())
