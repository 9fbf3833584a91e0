"""The training of a policy: an actor-critic over whole episodes.

Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347) with generalized advantages
(Schulman et al. 2015, arXiv 1506.02438). Episodes are played step by step with the decoder's own
state and without gradients; the update goes over them whole, as a training of a language model
does.

Size legend: B episodes side by side, T moves.
"""

from __future__ import annotations

import io
import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fairseq_memtx.ground.files import hash_of, write_bytes
from fairseq_memtx.ground.progress import Progress
from scripts.studies.mazes.configs import Memory, Setting
from scripts.studies.mazes.policy import Policy
from scripts.studies.mazes.world import World, draw_maze

logger = logging.getLogger(__name__)


class Episodes(NamedTuple):
    """What was seen, done, expected and gained, all `(B, T)`.

    Attributes:
        seen: observations.
        moves: that were drawn.
        logs: logarithms of their probabilities.
        worth: the reward that was expected before each.
        rewards: that each brought.
    """

    seen: Tensor
    moves: Tensor
    logs: Tensor
    worth: Tensor
    rewards: Tensor


def new_world(setting: Setting, episodes: int, rng: np.random.Generator) -> World:
    """So many episodes in the setting's maze."""
    maze = draw_maze(setting.size, setting.loops, np.random.default_rng(setting.maze_seed))
    return World(np.stack([maze] * episodes), rng)


@torch.no_grad()
def play_policy(policy: Policy, world: World, moves: int, draw: torch.Generator) -> Episodes:
    """Play so many moves, each drawn by the policy's probabilities."""
    state: dict[str, Any] = {}
    seen: list[Tensor] = []
    rest: list[tuple[Tensor, ...]] = []
    for _ in range(moves):
        seen.append(torch.from_numpy(world.observe()))
        logs, worth = policy(torch.stack(seen, dim=1), state)
        chosen = torch.multinomial(logs[:, -1].exp(), 1, generator=draw)
        reward = torch.from_numpy(world.step(chosen[:, 0].numpy())).to(worth)
        rest.append((chosen[:, 0], logs[:, -1].gather(1, chosen)[:, 0], worth[:, -1], reward))
    parts = [seen, *zip(*rest, strict=True)]
    return Episodes(*(torch.stack(list(part), dim=1) for part in parts))


def advantages(rewards: Tensor, worth: Tensor, discount: float, trace: float) -> Tensor:
    """By how much the moves did better than expected `(B, T)`; nothing comes after the last."""
    after = torch.cat([worth[:, 1:], torch.zeros_like(worth[:, :1])], dim=1)
    surprise = rewards + discount * after - worth
    found, last = [], torch.zeros_like(rewards[:, 0])
    for now in reversed(surprise.unbind(dim=1)):
        last = now + discount * trace * last
        found.append(last)
    return torch.stack(found[::-1], dim=1)


def loss_of(policy: Policy, played: Episodes, better: Tensor, setting: Setting) -> Tensor:
    """The loss of one pass over episodes whose moves have these advantages `(B, T)`."""
    logs, worth = policy(played.seen)
    ratio = (logs.gather(2, played.moves[..., None])[..., 0] - played.logs).exp()
    clipped = ratio.clamp(1 - setting.clip, 1 + setting.clip)
    scaled = (better - better.mean()) / (better.std() + 1e-8)
    actor = -torch.minimum(ratio * scaled, clipped * scaled).mean()
    critic = (worth - (played.worth + better)).square().mean()
    entropy = -(logs.exp() * logs).sum(dim=-1).mean()
    return actor + setting.value * critic - setting.entropy * entropy


class Learner:
    """A policy in training. What an update draws depends on seed and number of the update alone.

    Args:
        memory: what the policy remembers with.
        setting: all else.
        seed: of its first weights and all that is drawn.

    Attributes:
        rewards: mean reward of an episode, for each update so far.
        seconds: of the processor, so far.
    """

    def __init__(self, memory: Memory, setting: Setting, seed: int):
        torch.manual_seed(seed)
        self.setting, self.seed = setting, seed
        self.policy = Policy(memory, setting)
        self.adam = torch.optim.Adam(self.policy.parameters(), lr=setting.lr)
        self.rewards: list[float] = []
        self.seconds = 0.0
        self._key = hash_of([vars(memory), vars(setting), seed])

    def update(self) -> None:
        """Play an update's episodes and learn from them."""
        begun, setting = time.process_time(), self.setting
        rng = np.random.default_rng([self.seed, len(self.rewards)])
        draw = torch.Generator().manual_seed(int(rng.integers(2**62)))
        world = new_world(setting, setting.episodes, rng)
        played = play_policy(self.policy, world, setting.moves, draw)
        better = advantages(played.rewards, played.worth, setting.discount, setting.trace)
        for _ in range(setting.passes):
            self.adam.zero_grad()
            loss_of(self.policy, played, better, setting).backward()
            torch.nn.utils.clip_grad_norm_(
                self.policy.parameters(), setting.clip_norm, error_if_nonfinite=True
            )
            self.adam.step()
        self.rewards.append(float(played.rewards.sum(dim=1).mean()))
        self.seconds += time.process_time() - begun

    def save(self, path: Path) -> None:
        """Write all that it takes to go on."""
        state = {
            "key": self._key,
            "policy": self.policy.state_dict(),
            "adam": self.adam.state_dict(),
            "rewards": self.rewards,
            "seconds": self.seconds,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Go on from where `save` left it; of another training, begin anew."""
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["key"] != self._key:
            logger.info("`%s` is of another training: begun anew", path)
            return
        self.policy.load_state_dict(state["policy"])
        self.adam.load_state_dict(state["adam"])
        self.rewards, self.seconds = state["rewards"], state["seconds"]
        logger.info("`%s`: goes on after %d updates", path, len(self.rewards))

    def train(self, name: str, path: Path) -> None:
        """Make the updates that are left; `path` holds the training now and then."""
        self.load(path)
        setting = self.setting
        with Progress(name, setting.updates - len(self.rewards), "updates") as progress:
            while len(self.rewards) < setting.updates:
                self.update()
                progress.add(1)
                done = len(self.rewards)
                if done % setting.save_every == 0 or done == setting.updates:
                    self.save(path)
                    logger.info("%s: %d updates, reward %.2f", name, done, self.rewards[-1])

    def evaluate(self) -> Tensor:
        """The rewards `(B, T)` of the episodes that all are evaluated in."""
        setting = self.setting
        draw = torch.Generator().manual_seed(setting.evaluation_seed)
        world = evaluation_world(setting)
        return play_policy(self.policy, world, setting.moves, draw).rewards


def evaluation_world(setting: Setting) -> World:
    """The episodes that all are evaluated in."""
    return new_world(setting, setting.evaluated, np.random.default_rng(setting.evaluation_seed))
