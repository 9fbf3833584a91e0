"""A lexical table from parallel text: which target words translate a source word.

IBM Model 1 (Brown et al. 1993, "The Mathematics of Statistical Machine Translation"), by
expectation maximisation over the words of each pair of sentences, without order:

    p(targets | sources) = product over target words t of the mean over source words s of p(t | s)

Size legend: V words of a dictionary, n target words of the text, m links of a target word with the
source words of its sentence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

Ints = np.ndarray


@dataclass(frozen=True)
class Links:
    """All pairs of a source and a target word that stand in the same pair of sentences.

    Attributes:
        kinds: `(k,)` int64, sorted: each kind of link once, as `source * num_targets + target`.
        kind: `(m,)`, the kind of each link.
        target: `(m,)`, the target word, counted through the text, that the link belongs to.
        num_targets: V of the target side.
    """

    kinds: Ints
    kind: Ints
    target: Ints
    num_targets: int


def link(pairs: Iterable[tuple[Ints, Ints]], num_targets: int, most: int) -> tuple[Links, int]:
    """The links of as many pairs as have at most `most` links, and how many pairs that is.

    Args:
        pairs: word numbers of source and target, each `(length,)`.
        num_targets: V of the target side.
        most: 16 bytes each are kept, and 24 more while sorting.
    """
    keys: list[Ints] = []
    targets: list[Ints] = []
    count = words = links = 0
    for source, target in pairs:
        if links + source.size * target.size > most:
            break
        keys.append((source.astype(np.int64)[:, None] * num_targets + target).ravel())
        targets.append(np.tile(np.arange(words, words + target.size, dtype=np.int64), source.size))
        count, words, links = count + 1, words + target.size, links + source.size * target.size
    if count == 0:
        none = np.zeros(0, dtype=np.int64)
        return Links(none, none, none, num_targets), 0
    kinds, kind = np.unique(np.concatenate(keys), return_inverse=True)
    return Links(kinds, kind.ravel(), np.concatenate(targets), num_targets), count


def train(links: Links, iterations: int) -> np.ndarray:
    """`p(target | source)` of each kind of link, `(k,)` float64.

    The first iteration starts from equal probabilities.
    """
    source = links.kinds // links.num_targets
    probs = np.ones(links.kinds.size)
    for _ in range(iterations):
        share = probs[links.kind]
        share /= np.bincount(links.target, share)[links.target]
        counts = np.bincount(links.kind, share, minlength=links.kinds.size)
        probs = counts / np.bincount(source, counts)[source]
    return probs


def best_targets(links: Links, probs: np.ndarray, num_sources: int, most: int) -> Ints:
    """The most probable targets of each source word, `(V, most)` int32, best first, -1 for none."""
    source, target = np.divmod(links.kinds, links.num_targets)
    order = np.lexsort((target, -probs, source))
    source, target = source[order], target[order]
    rank = np.arange(source.size) - np.searchsorted(source, source)
    table = np.full((num_sources, most), -1, dtype=np.int32)
    kept = rank < most
    table[source[kept], rank[kept]] = target[kept]
    return table


def most_frequent(targets: Iterable[Sequence[int] | Ints], num_targets: int, most: int) -> Ints:
    """The most frequent words of a text, `(most,)` or fewer, int32, most frequent first."""
    counts = np.zeros(num_targets, dtype=np.int64)
    for words in targets:
        np.add.at(counts, np.asarray(words, dtype=np.int64), 1)
    order = np.argsort(-counts, kind="stable")[:most]
    return order[counts[order] > 0].astype(np.int32)
