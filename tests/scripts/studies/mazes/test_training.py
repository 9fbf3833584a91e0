"""How a policy plays and learns: step by step as in the whole, and on as if never interrupted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.studies.mazes import training
from scripts.studies.mazes.configs import MEMORIES, NOTHING, Setting
from scripts.studies.mazes.policy import Policy
from scripts.studies.mazes.training import Learner, advantages, loss_of, new_world, play_policy
from scripts.studies.mazes.world import MOVES, OBSERVATIONS

TINY = Setting(
    size=3, moves=24, episodes=3, updates=4, save_every=2, evaluated=5, dim=8, ffn_dim=8
)  # fmt: skip
every_memory = pytest.mark.parametrize("memory", MEMORIES)


def scattered(memory: str) -> Policy:
    """In float64, its weights moved from where they start, where heads are next to nothing."""
    torch.manual_seed(1)
    policy = Policy(MEMORIES[memory], TINY).double()
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return policy


def played_by(policy: Policy) -> training.Episodes:
    world = new_world(TINY, TINY.episodes, np.random.default_rng(1))
    return play_policy(policy, world, TINY.moves, torch.Generator().manual_seed(1))


@every_memory
def test_the_update_computes_what_was_played(memory: str) -> None:
    policy = scattered(memory)
    played = played_by(policy)
    assert played.logs.dtype == torch.float64
    logs, worth = policy(played.seen)
    assert logs.requires_grad
    chosen = logs.gather(2, played.moves[..., None])[..., 0]
    # fairseq's Transformer rounds the softmax of its attention to float32, step by step alone.
    near = 1e-6 if memory == "transformer" else 1e-12
    torch.testing.assert_close(chosen, played.logs, rtol=0, atol=near)
    torch.testing.assert_close(worth, played.worth, rtol=0, atol=near)
    assert played.logs.std() > 0.1, "all moves were equally likely: nothing was compared"


@every_memory
def test_only_who_remembers_depends_on_what_came_before(memory: str) -> None:
    policy = scattered(memory)
    seen = torch.randint(OBSERVATIONS, (2, TINY.moves))
    other = seen.clone()
    other[:, 0] = (seen[:, 0] + 7) % OBSERVATIONS
    one, another = policy(seen)[0][:, -1], policy(other)[0][:, -1]
    assert torch.equal(one, another) is (memory == NOTHING)


def test_advantages_are_the_sums_of_the_paper() -> None:
    rewards, worth = torch.rand(2, 2, 5, dtype=torch.float64)
    found = advantages(rewards, worth, 0.9, 0.8)
    after = torch.cat([worth[:, 1:], torch.zeros(2, 1)], dim=1)
    surprise = rewards + 0.9 * after - worth
    for at in range(5):
        expected = sum(0.72**ahead * surprise[:, at + ahead] for ahead in range(5 - at))
        torch.testing.assert_close(found[:, at], expected)
    # With a trace of one: what is gained from then on, less what was expected.
    sums = torch.stack([sum(0.9**n * rewards[:, at + n] for n in range(5 - at)) for at in range(5)])
    torch.testing.assert_close(advantages(rewards, worth, 0.9, 1.0), sums.t() - worth)


@every_memory
@pytest.mark.parametrize("value", [0.0, 100.0])
def test_a_step_down_the_loss_makes_better_moves_likelier_and_expects_more(
    memory: str, value: float
) -> None:
    policy = scattered(memory)
    played = played_by(policy)
    better = torch.randn(played.logs.shape, dtype=torch.float64) + 1.0
    loss_of(policy, played, better, dataclasses.replace(TINY, entropy=0.0, value=value)).backward()
    missing = [name for name, weight in policy.named_parameters() if weight.grad is None]
    assert missing == []
    with torch.no_grad():
        for weight in policy.parameters():
            weight -= 1e-6 * weight.grad
        logs, worth = policy(played.seen)
    if value == 0.0:
        gain = logs.gather(2, played.moves[..., None])[..., 0] - played.logs
        assert (gain * (better - better.mean())).sum() > 0
    else:
        error = (worth - played.worth - better).square().mean()
        assert error < better.square().mean()


def test_moves_that_a_pass_has_moved_far_enough_are_left_alone() -> None:
    policy = scattered(NOTHING)
    played = played_by(policy)
    better = torch.ones_like(played.logs)
    better[:, ::2] = -1.0  # mean zero, so that the sign stays
    far = played._replace(logs=played.logs - better * 0.3)  # e^0.3 > 1.2, e^-0.3 < 0.8
    for episodes, moved in ((played, True), (far, False)):
        policy.zero_grad()
        loss_of(policy, episodes, better, dataclasses.replace(TINY, entropy=0.0)).backward()
        assert bool(policy.moves.weight.grad.abs().max() > 1e-9) is moved


@pytest.mark.parametrize("memory", ["none", "feedback"])
def test_an_interrupted_training_ends_as_one_that_was_not(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Learner(MEMORIES[memory], TINY, seed=1)
    whole.train("whole", tmp_path / "whole.pt")
    broken = Learner(MEMORIES[memory], TINY, seed=1)
    path = tmp_path / "broken.pt"

    def stop_after(count: int) -> None:
        if len(broken.rewards) == count:
            raise KeyboardInterrupt
        Learner.update(broken)

    monkeypatch.setattr(broken, "update", lambda: stop_after(3))
    with pytest.raises(KeyboardInterrupt):
        broken.train("broken", path)
    again = Learner(MEMORIES[memory], TINY, seed=1)
    again.load(path)
    assert len(again.rewards) == 2, "the last checkpoint is that of the second update"
    again.train("again", path)
    assert again.rewards == whole.rewards
    for one, other in zip(again.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(again.evaluate(), whole.evaluate())


def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Learner(MEMORIES["none"], TINY, seed=1).train("first", path)
    for other in (
        Learner(MEMORIES["none"], TINY, seed=2),
        Learner(MEMORIES["none"], dataclasses.replace(TINY, lr=1.0), seed=1),
        Learner(MEMORIES["transformer"], TINY, seed=1),
    ):
        other.load(path)
        assert other.rewards == []


def test_seeds_draw_weights_and_episodes() -> None:
    one, same, other = (Learner(MEMORIES["none"], TINY, seed) for seed in (1, 1, 2))
    for learner in (one, same, other):
        learner.update()
        learner.update()
    assert torch.equal(one.policy.moves.weight, same.policy.moves.weight)
    assert one.rewards == same.rewards
    assert not torch.equal(one.policy.moves.weight, other.policy.moves.weight)
    assert one.policy.moves.out_features == MOVES
