"""The maze: walls hold, rewards come from the goal alone, what is drawn follows from the seed."""

import numpy as np
import pytest

from scripts.studies.mazes.players import PerfectMemory, at_random, play
from scripts.studies.mazes.world import (
    MOVES,
    NO_MOVE,
    OBSERVATIONS,
    WALLS,
    World,
    distances,
    draw_maze,
)

SIZE = 4
PLACES = SIZE * SIZE


def mazes(count: int, loops: float = 0.2, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([draw_maze(SIZE, loops, rng) for _ in range(count)])


def world(episodes: int = 64, seed: int = 1) -> World:
    return World(mazes(episodes), np.random.default_rng(seed))


@pytest.mark.parametrize("loops", [0.0, 0.2, 1.0])
def test_moves_lead_to_neighbours_and_back(loops: float) -> None:
    steps = {-SIZE: 0, 1: 1, SIZE: 2, -1: 3}
    for maze in mazes(20, loops):
        for place, move in np.ndindex(maze.shape):
            to = maze[place, move]
            if to != place:
                assert steps[to - place] == move
                assert maze[to, (move + 2) % MOVES] == place
                assert abs(to % SIZE - place % SIZE) + abs(to // SIZE - place // SIZE) == 1


@pytest.mark.parametrize(("loops", "ways"), [(0.0, PLACES - 1), (1.0, 2 * SIZE * (SIZE - 1))])
def test_a_maze_is_a_tree_without_loops_and_open_with_all(loops: float, ways: int) -> None:
    for maze in mazes(20, loops):
        assert (maze != np.arange(PLACES)[:, None]).sum() == 2 * ways


def test_all_places_are_connected_and_distances_are_those_of_a_search() -> None:
    drawn = mazes(10)
    for maze, found in zip(drawn, distances(drawn), strict=True):
        for start in range(PLACES):
            known, edge = {start: 0}, [start]
            for place in edge:  # breadth first: the list grows while it is read
                for to in maze[place].tolist():
                    if to not in known:
                        known[to] = known[place] + 1
                        edge.append(to)
            assert [known[place] for place in range(PLACES)] == found[start].tolist()


def test_walls_hold_and_only_the_goal_rewards() -> None:
    made, rng = world(), np.random.default_rng(2)
    goals, rewarded = made.goal.copy(), 0
    for _ in range(200):
        before, moves = made.place.copy(), rng.integers(MOVES, size=64)
        led_to = made.mazes[np.arange(64), before, moves]
        rewards = made.step(moves)
        np.testing.assert_array_equal(rewards, led_to == goals)
        np.testing.assert_array_equal(made.place[rewards == 0], led_to[rewards == 0])
        assert (made.place != goals).all()
        rewarded += int(rewards.sum())
    np.testing.assert_array_equal(made.goal, goals)
    assert rewarded > 100


def test_an_observation_tells_walls_and_the_last_move_and_reward() -> None:
    made, rng = world(), np.random.default_rng(3)
    last, rewards = np.full(64, NO_MOVE), np.zeros(64)
    for _ in range(50):
        seen = made.observe()
        assert ((seen >= 0) & (seen < OBSERVATIONS)).all()
        for row, one in enumerate(seen.tolist()):
            rest, walls = divmod(one, WALLS)
            place = made.place[row]
            told = [bool(walls >> move & 1) for move in range(MOVES)]
            assert told == [made.mazes[row, place, move] == place for move in range(MOVES)]
            assert divmod(rest, MOVES + 1) == (rewards[row], last[row])
        last = rng.integers(MOVES, size=64)
        rewards = made.step(last)


def test_the_seed_draws_everything() -> None:
    def course(seed: int) -> list[np.ndarray]:
        made, player = world(seed=seed), at_random(np.random.default_rng(seed))
        return [made.goal, made.place, play(made, player, 30), made.observe()]

    for one, same in zip(course(1), course(1), strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(course(1)[0], course(2)[0])
    assert np.array_equal(mazes(3), mazes(3)) and not np.array_equal(mazes(3), mazes(3, seed=2))


class OneWay:
    """Remembers nothing: always moves the same way, or else along the wall."""

    def __call__(self, seen: np.ndarray, rewards: np.ndarray) -> np.ndarray:
        walls = seen % WALLS
        return np.where(walls & 1, 1, 0)


def test_perfect_memory_gains_more_than_none() -> None:
    gained = {}
    for name in ("perfect", "chance", "one way"):
        made = world()
        players = {
            "perfect": PerfectMemory(made),
            "chance": at_random(np.random.default_rng(1)),
            "one way": OneWay(),
        }
        gained[name] = play(made, players[name], 60)
    sums = {name: rewards.sum(axis=1).mean() for name, rewards in gained.items()}
    assert sums["perfect"] > 4 * max(sums["chance"], sums["one way"])
    # The goal is known once it is found.
    assert gained["perfect"][:, 30:].mean() > 1.2 * gained["perfect"][:, :10].mean()
    assert (gained["perfect"].sum(axis=1) > 0).all()


def test_perfect_memory_needs_no_more_than_the_shortest_way_to_a_goal_that_it_knows() -> None:
    made = world()
    player, ways = PerfectMemory(made), distances(made.mazes)
    rewards, left = np.zeros(64), np.full(64, -1)
    for _ in range(100):
        rewards = made.step(player(made.observe(), rewards))
        left = left - 1
        assert (left[rewards > 0] <= 0).all()
        assert not ((left == 0) & (rewards == 0)).any(), "it took a longer way"
        left = np.where(rewards > 0, ways[np.arange(64), made.place, made.goal], left)
