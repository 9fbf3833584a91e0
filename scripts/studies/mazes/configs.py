"""What ``scripts.studies.maze`` compares: memories of one policy in one maze, all else alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOTHING = "none"


@dataclass(frozen=True)
class Memory:
    """What a policy remembers with.

    Attributes:
        decoder: its name in `DECODERS`.
        meaning: what a move can depend on, for a table.
        settings: of the decoder, by fairseq's names.
        remembers: False: every move is made as if it were the first.
    """

    decoder: str
    meaning: str
    settings: Mapping[str, int | bool] = field(default_factory=dict)
    remembers: bool = True


@dataclass(frozen=True)
class Setting:
    """The maze, sizes and training; alike for all memories.

    Attributes:
        size: places of the maze's side.
        loops: share of the walls beside a tree of ways that fall.
        maze_seed: of its walls.
        moves: of an episode.
        episodes: side by side, an update's.
        updates: of a training.
        save_every: updates from one checkpoint to the next.
        evaluated: episodes after the training, the same for all.
        evaluation_seed: of these.
        layers, dim, ffn_dim, heads: of the decoder.
        lr, clip_norm: of Adam.
        discount, trace: of the advantages (Schulman et al. 2015).
        entropy, value: weights of the policy's entropy and of the value's error in the loss.
        passes: over an update's episodes.
        clip: how far a pass may move a move's probability, as a share (Schulman et al. 2017).
    """

    size: int = 4
    loops: float = 0.2
    maze_seed: int = 1
    moves: int = 40
    episodes: int = 64
    updates: int = 120
    save_every: int = 10
    evaluated: int = 512
    evaluation_seed: int = 1_000_003
    layers: int = 1
    dim: int = 64
    ffn_dim: int = 128
    heads: int = 2
    lr: float = 2e-3
    clip_norm: float = 0.5
    discount: float = 0.95
    trace: float = 0.95
    entropy: float = 0.01
    value: float = 0.5
    passes: int = 2
    clip: float = 0.2


SETTING = Setting()
_SEGMENT = 16

MEMORIES = {
    NOTHING: Memory(
        "transformer", "the walls around, the last move and its reward, nothing else",
        remembers=False,
    ),
    "transformer": Memory("transformer", "all that was seen before in the episode"),
    "transformer-xl": Memory(
        "transformer-xl",
        f"its segment of {_SEGMENT} moves and, layer by layer, the states of the"
        f" {3 * _SEGMENT} before it, behind a stop-gradient",
        {"memtx_segment_len": _SEGMENT, "memtx_mem_len": 3 * _SEGMENT},
    ),
    "feedback": Memory(
        "feedback",
        "the memories of all moves before in the episode, of which each was made from those"
        " before it",
    ),
}  # fmt: skip
