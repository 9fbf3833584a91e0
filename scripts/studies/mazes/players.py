"""Who plays without learning: between them lies what a policy can gain.

Size legend: B episodes side by side, N places of a maze, T moves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scripts.studies.mazes.world import MOVES, Floats, Ints, World, distances

#: Given what is seen `(B,)` and the last rewards `(B,)`, the next moves `(B,)`.
Player = Callable[[Ints, Floats], Ints]


def play(world: World, player: Player, moves: int) -> Floats:
    """The rewards `(B, T)` of so many moves."""
    rewards, last = [], np.zeros(len(world.mazes))
    for _ in range(moves):
        last = world.step(player(world.observe(), last))
        rewards.append(last)
    return np.stack(rewards, axis=1)


def at_random(rng: np.random.Generator) -> Player:
    """Every move is drawn."""
    return lambda seen, rewards: rng.integers(MOVES, size=len(seen))


class PerfectMemory:
    """Knows its maze and where it is, forgets nothing, and has to find the goal as others have.

    It looks where it has not yet been, the nearest first; then it goes the shortest way.

    Args:
        world: of which it reads mazes and places, but never the goal.
    """

    def __init__(self, world: World):
        self._world, self._ways = world, distances(world.mazes)
        self._rows = np.arange(len(world.mazes))
        self._unseen = np.ones(world.mazes.shape[:2], dtype=bool)
        self._goal = np.full(len(world.mazes), -1)
        self._heading = np.zeros(len(world.mazes), dtype=np.int64)

    def __call__(self, seen: Ints, rewards: Floats) -> Ints:
        world, rows = self._world, self._rows
        self._goal = np.where(rewards > 0, self._heading, self._goal)
        self._unseen[rows, world.place] = False
        far = self._ways.shape[1] + 1
        ways = np.where(self._unseen, self._ways[rows, world.place], far)
        target = np.where(self._goal >= 0, self._goal, ways.argmin(axis=1))
        after = world.mazes[rows, world.place]  # (B, MOVES)
        moves = self._ways[rows[:, None], after, target[:, None]].argmin(axis=1)
        self._heading = after[rows, moves]
        return moves
