"""The rules about words: which may come next, once for all searches.

Where a search runs on a device without asking it, the number of a step and the lengths are tensors;
what holds at the moment is then not known to the host, and the same operations serve every step.

Size legend: B sentences, R rows a sentence (1 at the first step, then the beam), V vocabulary, k
candidates, t words so far, n the order of an n-gram.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .candidates import Candidates
from .search_options import SearchOptions

Count = int | Tensor


def rule_out(
    log_probs: Tensor, options: SearchOptions, step: Count, max_len: Count, prefix_len: Count
) -> None:
    """Set what may not come next to minus infinity, in place.

    Padding never comes, the unknown word at a price; at the longest length only the end comes, and
    before the shortest one it does not.

    Args:
        log_probs: `(B, R, V)` of the next word.
        options: of the search; `max_len` is told beside.
        step: number of the step, from 0, or a tensor `(1,)` that holds it.
        max_len: words of a hypothesis at most, likewise.
        prefix_len: steps at which words may be forced, likewise: none of them is too early.
    """
    eos = options.eos
    # Assigning to an index would bring a number from the host, which no recording can hold.
    log_probs[..., options.pad].fill_(-math.inf)
    if options.unk_penalty != 0.0:
        log_probs[..., options.unk].sub_(options.unk_penalty)
    _ban(log_probs[..., :eos], step >= max_len)
    _ban(log_probs[..., eos + 1 :], step >= max_len)
    if options.min_len > 0:
        _ban(log_probs[..., eos], (step < options.min_len) & (step >= prefix_len))


def _ban(log_probs: Tensor, when: bool | Tensor) -> None:
    if isinstance(when, Tensor):
        log_probs.masked_fill_(when, -math.inf)
    elif when:
        log_probs.fill_(-math.inf)


def end_at(length: Tensor, log_probs: Tensor, step: int, eos: int) -> None:
    """Let each sentence's rows end after `length` `(B,)` words, for nothing, and not before."""
    log_probs[step < length, :, eos] = -math.inf
    log_probs[step >= length, :, eos] = 0.0


def end_by(longest: Tensor, log_probs: Tensor, step: int, eos: int) -> None:
    """Let nothing but the end follow `longest` `(B,)` words of each sentence's rows."""
    over = step >= longest
    log_probs[over, :, :eos] = -math.inf
    log_probs[over, :, eos + 1 :] = -math.inf


def ban_repeated_ngrams(scores: Tensor, prefixes: Tensor, n: int) -> None:
    """Set to -inf every word that would repeat an n-gram of its row's prefix.

    The start symbol counts as a word of an n-gram, but for n = 1, where it would ban the end of
    every sentence.

    Args:
        scores: `(N, V)` of the next word, changed in place.
        prefixes: `(N, t)`, the start symbol included.
        n: at least 1.
    """
    first = 1 if n == 1 else 0
    if prefixes.size(1) < n + first:
        return
    windows = prefixes[:, first:].unfold(1, n, 1)  # (N, t - n + 1, n)
    if n == 1:
        repeated = torch.ones(windows.shape[:2], dtype=torch.bool, device=scores.device)
    else:
        repeated = (windows[..., :-1] == prefixes[:, None, 1 - n :]).all(dim=2)
    rows, places = repeated.nonzero(as_tuple=True)
    scores[rows, windows[rows, places, -1]] = float("-inf")


def force_words(
    found: Candidates,
    words: Tensor,
    log_probs: Tensor,
    scores: Tensor,
    options: SearchOptions,
    may_end: Tensor | None = None,
) -> Candidates:
    """The forced word's continuations where a sentence has one, else what was found.

    Where the word is the end, all rows are the first one, as in fairseq.

    Args:
        found: the best continuations `(B, k)` of all words.
        words: `(B,)`, the forced ones; padding forces none.
        log_probs: `(B, R, V)`, which the other rules have been applied to.
        scores: `(B, R)`, sums of the rows.
        options: of the search.
        may_end: `(B,)`, True where the end may come in the place of another word, or None.
    """
    num_rows, k = log_probs.size(1), found.scores.size(1)
    word, is_end = words.unsqueeze(1), words.eq(options.eos).unsqueeze(1)
    wanted = word
    if may_end is not None:  # padding never comes
        end = torch.where(may_end.unsqueeze(1) & ~is_end, options.eos, options.pad)
        wanted = torch.cat([word, end], dim=1)
    kinds = wanted.size(1)
    total = log_probs.gather(2, wanted.unsqueeze(1).expand(-1, num_rows, -1)) + scores.unsqueeze(2)
    total = torch.where(is_end.unsqueeze(2), total[:, :1], total).flatten(1)
    best, order = total.sort(dim=1, descending=True)
    rows = torch.div(order, kinds, rounding_mode="floor").masked_fill(is_end, 0)
    tokens = wanted.gather(1, order % kinds)
    more = max(k - best.size(1), 0)
    tokens = torch.cat([tokens, word.expand(-1, more)], dim=1)
    best, rows = F.pad(best, (0, more), value=-math.inf), F.pad(rows, (0, more))
    forced = word.ne(options.pad)
    return Candidates(
        *(
            torch.where(forced, ours[:, :k], theirs)
            for ours, theirs in zip((best, tokens, rows), found, strict=True)
        )
    )
