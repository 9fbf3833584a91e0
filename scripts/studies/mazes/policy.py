"""A policy whose memory is a decoder of the library, a language model of what is seen.

Size legend: B episodes side by side, T moves.
"""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.models.transformer_lm import base_lm_architecture
from torch import Tensor, nn

import fairseq_memtx.plugin  # noqa: F401  (registers the decoders)
from fairseq_memtx.decoders import DECODERS
from scripts.studies.mazes.configs import Memory, Setting
from scripts.studies.mazes.world import MOVES, OBSERVATIONS

#: Spread of a head's first weights: all moves begin about equally likely.
HEAD_STD = 0.01


def words() -> Dictionary:
    """A word for each observation, after fairseq's special ones."""
    dictionary = Dictionary()
    for number in range(OBSERVATIONS):
        dictionary.add_symbol(f"seen{number}")
    return dictionary


def decoder_of(memory: Memory, setting: Setting) -> Any:
    """The decoder of the language model, with its starting weights and no dropout."""
    name = DECODERS[memory.decoder].language_model
    settings = Namespace(
        arch=name,
        decoder_layers=setting.layers,
        decoder_embed_dim=setting.dim,
        decoder_input_dim=setting.dim,
        decoder_output_dim=setting.dim,
        decoder_ffn_embed_dim=setting.ffn_dim,
        decoder_attention_heads=setting.heads,
        decoder_normalize_before=True,
        share_decoder_input_output_embed=True,
        dropout=0.0,
        tokens_per_sample=setting.moves,
        **memory.settings,
    )
    base_lm_architecture(settings)
    dictionary = words()
    task: Any = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return ARCH_MODEL_REGISTRY[name].build_model(settings, task).decoder


class Policy(nn.Module):
    """How likely each move is, and what reward is still to be expected.

    Args:
        memory: what it remembers with.
        setting: its sizes.
    """

    def __init__(self, memory: Memory, setting: Setting):
        super().__init__()
        self.decoder, self.remembers = decoder_of(memory, setting), memory.remembers
        self.first_word = Dictionary().nspecial
        self.moves, self.worth = nn.Linear(setting.dim, MOVES), nn.Linear(setting.dim, 1)
        for head in (self.moves, self.worth):
            nn.init.normal_(head.weight, std=HEAD_STD)
            nn.init.zeros_(head.bias)

    def forward(self, seen: Tensor, state: dict[str, Any] | None = None) -> tuple[Tensor, Tensor]:
        """Logarithms of the moves' probabilities `(B, T, MOVES)` and the worth `(B, T)`.

        Args:
            seen: observations `(B, T)` since the episode began.
            state: the decoder's `incremental_state`, which is gone on from and changed: then what
                is returned is of the last observation alone. None: of all, with gradients.
        """
        words = seen + self.first_word
        if self.remembers:
            features, _ = self.decoder(words, incremental_state=state, features_only=True)
        else:
            alone = words if state is None else words[:, -1:]
            features, _ = self.decoder(alone.reshape(-1, 1), features_only=True)
            features = features.view(*alone.shape, -1)
        return self.moves(features).log_softmax(dim=-1), self.worth(features).squeeze(-1)
