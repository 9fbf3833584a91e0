"""Our linear map, attention and dropout in the place of torch's, for as long as a step takes.

fairseq's modules, and torch's attention, which they use, call `torch.nn.functional.linear` with
weights that they take from their parts: replacing modules would miss those.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F

from .attention import attention
from .dropout import dropout, fast_masks
from .linear import linear
from .plan import Plan, following


@contextmanager
def in_place_of_torchs(plan: Plan | None) -> Iterator[None]:
    """Let all linear maps of this process follow the plan, attention be in float32 under autocast
    and dropout draw its masks fast.
    """
    stock = F.linear, F.dropout, F.scaled_dot_product_attention
    # Only where something is to be gained: a function of ours costs a little more to call.
    F.linear, F.dropout = (stock[0] if plan is None else linear), dropout
    F.scaled_dot_product_attention = attention
    try:
        with following(plan), fast_masks():
            yield
    finally:
        F.linear, F.dropout, F.scaled_dot_product_attention = stock
