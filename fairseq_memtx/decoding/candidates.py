"""The best continuations of the beams, and which of them end a hypothesis.

Size legend: B sentences, R rows a sentence (1 at the first step, then the beam), V vocabulary, k
candidates.
"""

from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 128  # words whose maximum stands for them in the first round
SEVERAL_CHUNKS = 65_536  # elements from which on two rounds are faster than one


class Candidates(NamedTuple):
    """The best continuations of each sentence, best first.

    Attributes:
        scores: `(B, k)`, sums of log-probabilities since the start.
        tokens: `(B, k)`.
        rows: `(B, k)`, the row that is continued, from 0 to R - 1.
    """

    scores: Tensor
    tokens: Tensor
    rows: Tensor


def best_continuations(log_probs: Tensor, scores: Tensor, k: int) -> Candidates:
    """The k best of all rows and words of each sentence.

    Equal scores come in the order in which `torch.topk` leaves them, as in fairseq.

    Args:
        log_probs: `(B, R, V)` of the next word.
        scores: `(B, R)`, sums so far.
        k: at most R * V.
    """
    num_rows, num_words = log_probs.shape[1:]
    if log_probs.numel() < SEVERAL_CHUNKS or num_words < 4 * CHUNK or log_probs.is_cuda:
        total = log_probs + scores.unsqueeze(2)
        best, place = total.flatten(1).topk(k)
    else:
        best, place = _best_by_chunks(log_probs, scores, k)
    rows = (
        torch.div(place, num_words, rounding_mode="floor")
        if num_rows > 1
        else place.new_zeros(place.shape)
    )
    return Candidates(best, place - rows * num_words, rows)


def _best_by_chunks(log_probs: Tensor, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and places `(B, k)` in `(R * V)`: the best lie in the k chunks of highest maxima."""
    num_rows, num_words = log_probs.shape[1:]
    num_chunks = num_words // CHUNK
    chunked = num_chunks * CHUNK
    maxima = log_probs[..., :chunked].unflatten(2, (num_chunks, CHUNK)).amax(dim=3)
    maxima = (maxima + scores.unsqueeze(2)).flatten(1)
    chunks = maxima.topk(min(k, maxima.size(1)), sorted=False).indices
    rows = torch.div(chunks, num_chunks, rounding_mode="floor")
    first = rows * num_words + (chunks - rows * num_chunks) * CHUNK
    within = torch.arange(CHUNK, device=first.device)
    places = (first.unsqueeze(2) + within).flatten(1)
    values = log_probs.flatten(1).gather(1, places).unflatten(1, (-1, CHUNK))
    values = (values + scores.gather(1, rows).unsqueeze(2)).flatten(1)
    if chunked < num_words:
        rest = torch.arange(chunked, num_words, device=first.device)
        rest = (rest + torch.arange(num_rows, device=first.device)[:, None] * num_words).flatten()
        values = torch.cat([values, (log_probs[..., chunked:] + scores[..., None]).flatten(1)], 1)
        places = torch.cat([places, rest.expand(len(places), -1)], dim=1)
    best, chosen = values.topk(k)
    return best, places.gather(1, chosen)


def accepted_ends(ends: Tensor, room: Tensor) -> Tensor:
    """The first of the `ends` `(b, k)`, as many as there is `room` for in each sentence `(b,)`."""
    return ends & (ends.cumsum(1) <= room.unsqueeze(1))


def first_open(candidates: Candidates, ends: Tensor, count: int) -> Candidates:
    """The first `count` candidates of each sentence that are not `ends` `(b, k)`."""
    order = ends.byte().argsort(dim=1, stable=True)[:, :count]
    return Candidates(*(part.gather(1, order) for part in candidates))
