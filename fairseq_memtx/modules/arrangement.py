"""The order of an epoch's batches under a limit that grows: random, and exact about the limit.

Size legend: n batches; position p = 0 .. n - 1 of an epoch.
"""

import numpy as np


def arrange(
    lengths: np.ndarray, limits: np.ndarray, random: np.random.RandomState, repeat: bool = False
) -> list[int]:
    """Choose a batch for each position, at random among those that its limit allows.

    Where the limits leave a position without a batch, it takes the shortest left (`repeat` False)
    or the shortest of all (`repeat` True).

    Args:
        lengths: `(n,)`, of the batches.
        limits: `(n,)`, the longest length allowed at each position; they never shrink.
        random: where the chances come from.
        repeat: False: each batch once, every arrangement that keeps to the limits equally likely.
            True: begin again with the batches allowed whenever all of them were used, so that the
            limits are kept at the price of repeating short batches and leaving out long ones.

    Returns:
        The number of the batch at each position.
    """
    pool = np.argsort(lengths, kind="stable")
    allowed = count_allowed(lengths[pool], limits, repeat).tolist()
    order, pool, used = [], pool.tolist(), 0
    # Fisher and Yates, with the pool sorted by length: pool[used:count] is allowed and unused.
    for count in allowed:
        used = 0 if used == count else used
        chosen = used + random.randint(count - used)
        pool[used], pool[chosen] = pool[chosen], pool[used]
        order.append(pool[used])
        used += 1
    return order


def count_allowed(ascending: np.ndarray, limits: np.ndarray, repeat: bool) -> np.ndarray:
    """How many batches of `ascending` length a position may choose from: `(n,)`, never shrinking.

    At least one, and unless they repeat at least one more than were used before.
    """
    least = 1 if repeat else np.arange(1, len(ascending) + 1)
    return np.maximum(np.searchsorted(ascending, limits, side="right"), least)


def count_beyond(lengths: np.ndarray, limits: np.ndarray) -> int:
    """Positions that must hold a batch longer than their limit if each batch comes once."""
    return int((np.sort(lengths) > limits).sum())
