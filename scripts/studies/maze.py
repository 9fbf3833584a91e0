"""Memories in a maze: ``python -m scripts.studies.maze``.

Trains a policy to find a hidden goal again and again, with one decoder of the library after the
other as its memory, and with none; writes a record of each training, a table and a plot of reward
against moves. What is trained is not trained again; a training that was interrupted goes on from
its last checkpoint and ends as if it had not been.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_json
from fairseq_memtx.ground.stamps import Stamps
from fairseq_memtx.ground.versions import versions
from scripts.shared import provenance, publishing
from scripts.shared.report import report
from scripts.studies import flags
from scripts.studies.mazes.configs import MEMORIES, SETTING, Setting

if TYPE_CHECKING:
    from scripts.studies.mazes.world import Floats

logger = logging.getLogger(__name__)

SCHEMA = 1
NAME = "maze"
STAGES = ("train", "report")
#: Parts of an episode whose rewards are told.
PARTS = 8


def train(memory: str, setting: Setting, seed: int, result: Path, command: str) -> None:
    """Train and evaluate one policy, unless that is done; what was found is written to `result`."""
    folder = result.parent
    inputs = {
        "memory": dataclasses.asdict(MEMORIES[memory]),
        "setting": dataclasses.asdict(setting),
        "seed": seed,
        "schema": SCHEMA,
    }

    def work() -> dict:
        found = learn(memory, setting, seed, folder) | {"command": command}
        write_json(result, found)
        return {"reward": found["evaluation"]["reward"]}

    Stamps(folder).run("train", inputs, [result], work)


def learn(memory: str, setting: Setting, seed: int, folder: Path) -> dict:
    """The training itself: its commit, its curve, and what the trained policy gains."""
    import torch

    from scripts.studies.mazes.training import Learner

    torch.set_num_threads(1)
    commit, dirty = provenance.git_state()
    learner = Learner(MEMORIES[memory], setting, seed)
    learner.train(folder.name, folder / "checkpoint.pt")
    rewards = learner.evaluate().double().numpy()
    logger.info("%s: %.2f an episode", folder.name, rewards.sum(axis=1).mean())
    return {
        "commit": commit,
        "dirty": dirty,
        "parameters": sum(weight.numel() for weight in learner.policy.parameters()),
        "training": {
            "updates": len(learner.rewards),
            "moves": len(learner.rewards) * setting.episodes * setting.moves,
            "rewards": [round(reward, 3) for reward in learner.rewards],
            "processor_seconds": round(learner.seconds, 1),
        },
        "evaluation": describe(rewards),
    }


def describe(rewards: Floats) -> dict:
    """What is told of the rewards `(B, T)` of some episodes: the mean, and by parts of them."""
    import numpy as np

    parts = np.array_split(rewards, PARTS, axis=1)
    return {
        "reward": round(float(rewards.sum(axis=1).mean()), 3),
        "by_part": [round(float(part.mean()), 4) for part in parts],
    }


def bounds(setting: Setting) -> dict:
    """What chance gains in the episodes of the evaluation, and what perfect memory does."""
    import numpy as np

    from scripts.studies.mazes.players import PerfectMemory, at_random, play
    from scripts.studies.mazes.training import evaluation_world

    chance = at_random(np.random.default_rng(setting.evaluation_seed))
    known = evaluation_world(setting)
    return {
        "chance": describe(play(evaluation_world(setting), chance, setting.moves)),
        "perfect memory": describe(play(known, PerfectMemory(known), setting.moves)),
    }


def record(memory: str, setting: Setting, seed: int, found: dict) -> dict:
    """The record of one training."""
    return {
        "schema": SCHEMA,
        "experiment": NAME,
        "memory": memory,
        "decoder": MEMORIES[memory].decoder,
        "sees": MEMORIES[memory].meaning,
        "seed": seed,
        "versions": versions(),
        "hardware": provenance.hardware("cpu"),
        "threads": 1,
        "setting": dataclasses.asdict(setting),
        **found,
        "bounds": bounds(setting),
    }


def compare(args: argparse.Namespace) -> None:
    """Train, record and report."""
    command_line.check_names("--memories", args.memories, tuple(MEMORIES))
    command_line.check_names("--stages", args.stages, STAGES)
    place = args.results_dir / NAME
    if "report" in args.stages:
        publishing.check_checkout(place)
    setting = dataclasses.replace(SETTING, updates=args.updates)
    for seed in args.seeds:
        for memory in args.memories:
            name = f"{memory}-s{seed}"
            result = args.runs_dir.resolve() / NAME / name / "train.json"
            if "train" in args.stages:
                train(memory, setting, seed, result, args.command)
            if "report" in args.stages:
                if not result.exists():
                    raise UserError(f"`{name}` is not trained: run the stage `train` first")
                found = record(memory, setting, seed, json.loads(result.read_bytes()))
                write_json(place / "records" / f"{name}.json", found)
    if "report" in args.stages:
        page, *_ = report(place)
        sys.stdout.write(page.read_text(encoding="utf-8"))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.studies.maze``."""
    whole, names = command_line.positive_int, command_line.comma_list
    parser = argparse.ArgumentParser(
        prog="scripts.studies.maze", description=(__doc__ or "").split("\n")[0]
    )
    add, known = parser.add_argument, tuple(MEMORIES)
    add("--memories", type=names, default=known, help="some of: " + ",".join(known))
    add("--seeds", type=command_line.int_list, default=(1, 2, 3))
    add("--stages", type=names, default=STAGES, help="some of: " + ",".join(STAGES))
    add("--updates", type=whole, default=SETTING.updates, help=f"default: {SETTING.updates}")
    add("--runs-dir", type=Path, default=Path("runs"))
    add("--results-dir", type=Path, default=Path("results"))
    return flags.parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.studies.maze``."""
    args = parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    return command_line.run(lambda: compare(args))


if __name__ == "__main__":
    raise SystemExit(main())
