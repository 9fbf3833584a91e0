"""Sources that a model cannot take as they are: a blank one stays blank, a long one is cut.

So does `memtx translate`; here it is for fairseq's own commands, which hand over whole batches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ground.text import cut_between_words

logger = logging.getLogger(__name__)

Hypotheses = list[dict[str, Any]]
Search = Callable[[dict[str, Any]], list[Hypotheses]]


def search_whole(
    search: Search, sample: dict[str, Any], dictionary: Any, most: int, left_pad: bool
) -> list[Hypotheses]:
    """The hypotheses of each sentence of a batch.

    Args:
        search: finds the hypotheses of a batch whose sources have 2 to `most` tokens.
        sample: fairseq's batch; `src_lengths` count the end symbol.
        dictionary: of the source.
        most: tokens of a source, the end symbol included, that the model takes.
        left_pad: whether padding comes first.
    """
    lengths = sample["net_input"]["src_lengths"].tolist()
    if lengths and min(lengths) > 1 and max(lengths) <= most:
        return search(sample)
    sources = sample["net_input"]["src_tokens"]
    parts = [list(_parts(row, dictionary, most)) for row in sources]
    flat = [part for some in parts for part in some]
    found: list[Hypotheses] = []
    rows = max(1, sources.numel() // most)
    for first in range(0, len(flat), rows):
        found += search(_as_sample(flat[first : first + rows], dictionary, left_pad, sources))
    joined, at = [], 0
    for number, some in enumerate(parts):
        if len(some) > 1:
            logger.warning("a source of %d subwords is more than the model takes (%d): translated"
                           " in %d parts", lengths[number], most, len(some))  # fmt: skip
        joined.append(_join(found[at : at + len(some)], dictionary.eos(), sources.device))
        at += len(some)
    return joined


def _parts(row: Tensor, dictionary: Any, most: int) -> Iterator[Tensor]:
    """What is translated of a padded source: nothing of a blank one."""
    tokens = row[row.ne(dictionary.pad())]
    body = tokens[:-1] if len(tokens) and tokens[-1] == dictionary.eos() else tokens
    at = 0
    for pieces in cut_between_words([dictionary[int(token)] for token in body], most - 1):
        yield torch.cat([body[at : at + len(pieces)], tokens.new_tensor([dictionary.eos()])])
        at += len(pieces)


def _as_sample(
    parts: Sequence[Tensor], dictionary: Any, left_pad: bool, like: Tensor
) -> dict[str, Any]:
    """A batch of parts."""
    width = max(map(len, parts))
    tokens = like.new_full((len(parts), width), dictionary.pad())
    for row, part in zip(tokens, parts, strict=True):
        row[width - len(part) if left_pad else 0 :][: len(part)] = part
    lengths = torch.tensor([len(part) for part in parts], device=like.device)
    start = tokens.new_full((len(parts), 1), dictionary.eos())
    net_input = {"src_tokens": tokens, "src_lengths": lengths, "prev_output_tokens": start}
    return {"net_input": net_input, "nsentences": len(parts)}


def _join(parts: list[Hypotheses], eos: int, device: torch.device) -> Hypotheses:
    """The hypotheses of a whole source: the best of all parts together, the second best, ..."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        parts = [[{
            "tokens": torch.tensor([eos], device=device),
            "score": torch.zeros((), device=device),
            "positional_scores": torch.zeros(1, device=device),
        }]]  # fmt: skip
    return [_join_rank(list(rank), eos) for rank in zip(*parts, strict=False)]


def _join_rank(parts: Hypotheses, eos: int) -> dict[str, Any]:
    words = [part["tokens"][part["tokens"].ne(eos)] for part in parts]
    sizes = torch.tensor([float(len(part["tokens"])) for part in parts])
    scores = torch.stack([part["score"].float().cpu() for part in parts])
    inner = [part["positional_scores"][:-1] for part in parts[:-1]]
    return {
        "tokens": torch.cat([*words, words[0].new_tensor([eos])]),
        "score": (scores * sizes).sum() / sizes.sum(),
        "attention": torch.empty(0),
        "alignment": torch.empty(0),
        "positional_scores": torch.cat([*inner, parts[-1]["positional_scores"]]),
    }
