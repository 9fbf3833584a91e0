"""Attention in float32 where autocast would have it in bfloat16 on a CPU.

torch's kernel multiplies block by block. In bfloat16 each of these small products asks oneDNN anew
for a primitive, which for sentences takes several times as long as the product in float32 does; and
the softmax between them should be in float32 anyway.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: torch's own, whatever stands in its place.
plain_attention = F.scaled_dot_product_attention


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args, **kwargs
) -> Tensor:
    """In the place of `torch.nn.functional.scaled_dot_product_attention`, with its arguments.

    The result is in the dtype that it would have there.
    """
    if not _cast_to_bfloat16(query):
        return plain_attention(query, key, value, attn_mask, *args, **kwargs)
    with torch.autocast("cpu", enabled=False):
        if attn_mask is not None and attn_mask.is_floating_point():
            attn_mask = attn_mask.float()
        query, key, value = query.float(), key.float(), value.float()
        return plain_attention(query, key, value, attn_mask, *args, **kwargs).bfloat16()


def _cast_to_bfloat16(query: Tensor) -> bool:
    return (
        query.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and query.dtype in (torch.float32, torch.bfloat16)
    )
