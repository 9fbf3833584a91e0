"""A maze with a hidden goal, for many episodes side by side.

In an episode the goal stays where it is. Who reaches it is rewarded and put to another place of the
same maze: remembering where the goal was pays. Nobody is told the place, only which of the four
walls around stand, and what the last move was and brought.

Plain numpy: an interface such as gymnasium's would be a dependency for fifty lines.

Size legend: B episodes side by side, N places of a maze, row by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: North, east, south, west.
MOVES = 4
WALLS = 2**MOVES
#: Before an episode's first move; the others are numbers below it.
NO_MOVE = MOVES
#: How many observations there are: walls, the last move, whether it brought a reward.
OBSERVATIONS = WALLS * (MOVES + 1) * 2


def draw_maze(size: int, loops: float, rng: np.random.Generator) -> Ints:
    """Where each move leads `(N, MOVES)`; to the place itself where a wall stands.

    All places are connected: walls fall along a random walk in depth, then others at random.

    Args:
        size: places of a side; N is its square.
        loops: the share of the walls left that fall.
        rng: draws it.
    """
    places = np.arange(size * size)
    row, column = places // size, places % size
    inside = np.stack([row > 0, column < size - 1, row < size - 1, column > 0], axis=1)
    beside = np.where(inside, places[:, None] + np.array([-size, 1, size, -1]), places[:, None])
    is_open = np.zeros_like(inside)

    def open_wall(place: int, move: int) -> None:
        is_open[place, move] = is_open[beside[place, move], (move + 2) % MOVES] = True

    path, seen = [0], {0}
    while path:
        here = path[-1]
        ways = [move for move in range(MOVES) if beside[here, move] not in seen]
        if not ways:
            path.pop()
            continue
        move = int(rng.choice(ways))
        open_wall(here, move)
        path.append(int(beside[here, move]))
        seen.add(path[-1])
    for place, move in zip(*np.nonzero(inside & ~is_open), strict=True):
        if move in (1, 2) and rng.random() < loops:  # each wall once, from one of its sides
            open_wall(place, move)
    return np.where(is_open, beside, places[:, None])


def distances(mazes: Ints) -> Ints:
    """Moves of the shortest way between all places `(B, N, N)` of mazes `(B, N, MOVES)`."""
    count = mazes.shape[1]
    found = np.full((len(mazes), count, count), count)
    np.put_along_axis(found, mazes, 1, axis=2)
    found[:, np.arange(count), np.arange(count)] = 0
    for middle in range(count):
        by_way_of = found[:, :, middle, None] + found[:, middle, None, :]
        found = np.minimum(found, by_way_of)
    return found


class World:
    """Episodes in mazes; goal and first place are drawn.

    Args:
        mazes: `(B, N, MOVES)`, as `draw_maze` makes each.
        rng: draws goals and places.

    Attributes:
        goal, place: `(B,)`.
    """

    def __init__(self, mazes: Ints, rng: np.random.Generator):
        self.mazes, self._rng = mazes, rng
        self._rows = np.arange(len(mazes))
        self.goal = rng.integers(mazes.shape[1], size=len(mazes))
        self.place = self._elsewhere()
        self._move = np.full(len(mazes), NO_MOVE)
        self._reward = np.zeros(len(mazes), dtype=np.int64)

    def _elsewhere(self) -> Ints:
        """A place for each episode that is not the goal."""
        count = self.mazes.shape[1]
        return (self.goal + self._rng.integers(1, count, size=len(self.goal))) % count

    def observe(self) -> Ints:
        """What is seen `(B,)`, a number below `OBSERVATIONS`."""
        is_wall = self.mazes[self._rows, self.place] == self.place[:, None]
        walls = is_wall @ (1 << np.arange(MOVES))
        return walls + WALLS * (self._move + (MOVES + 1) * self._reward)

    def step(self, moves: Ints) -> Floats:
        """Make a move `(B,)` in each episode; its reward `(B,)`, 1 where it led to the goal."""
        self._move = moves
        self.place = self.mazes[self._rows, self.place, moves]
        at_goal = self.place == self.goal
        self._reward = at_goal.astype(np.int64)
        self.place = np.where(at_goal, self._elsewhere(), self.place)
        return at_goal.astype(np.float64)
