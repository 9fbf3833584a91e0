"""Lets `--diverse-beam-groups` search more than one batch.

Stock keeps what the groups of beams have in common by row of the batch, and looks it up by the
number of the sentence in the data: an IndexError from the second batch on, or the counts of another
sentence. May go once it looks rows up by rows.
"""

from collections.abc import Callable
from typing import Any

from .wrapping import wrap


def apply() -> None:
    """Wrap a step of the search."""
    from fairseq.search import DiverseBeamSearch

    wrap(DiverseBeamSearch, "step", _step)


def _step(
    stock: Callable[..., Any],
    search: Any,
    step: int,
    lprobs: Any,
    scores: Any,
    prev_output_tokens: Any = None,
    original_batch_idxs: Any = None,
) -> Any:
    """`original_batch_idxs` `(b,)` names the sentences that are still searched, by any numbers."""
    import torch

    if step == 0 or original_batch_idxs is None:
        search.memtx_sentences = original_batch_idxs
        rows = torch.arange(lprobs.size(0), device=lprobs.device)
    else:
        # (b, 1) = (1, B): the row that each had in the first step
        same = original_batch_idxs[:, None] == search.memtx_sentences[None]
        rows = same.int().argmax(dim=1)
    return stock(search, step, lprobs, scores, prev_output_tokens, rows)
