"""What only an earlier sentence tells, learnt or not: documents of a made-up language.

A sentence is three words and its end. Some are nouns, each of one of three genders; a pronoun's
translation has the gender of the last noun, one or more sentences back. All other words are
translated into themselves.
"""

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from torch import Tensor

from fairseq_memtx.modules.lane_memory import LaneBatch, LaneColumns, LaneMemories, LaneRow
from tests.fairseq_memtx.tiny import build_model, tiny_dictionary

OTHERS, NOUNS, GENDERS, WORDS, SENTENCES, DOCUMENTS = 8, 6, 3, 3, 6, 32
FIRST_NOUN, PRONOUN = 4 + OTHERS, 4 + OTHERS + NOUNS
SIZES = {
    **{f"{side}_{name}": size for side in ("encoder", "decoder")
       for name, size in (("embed_dim", 32), ("ffn_embed_dim", 64), ("normalize_before", True))},
    "share_all_embeddings": True,
    "no_token_positional_embeddings": True,
    "memtx_memory_span": 48,
    "memtx_relative_positions": 6,
}  # fmt: skip


def dictionary() -> Dictionary:
    words = tiny_dictionary()
    while len(words) < PRONOUN + 1 + GENDERS:
        words.add_symbol(f"more{len(words)}")
    return words


def draw(random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Sources and targets `(documents, sentences, words + 1)`."""
    source = random.integers(4, FIRST_NOUN, size=(DOCUMENTS, SENTENCES, WORDS))
    target = source.copy()
    for document in range(DOCUMENTS):
        last = None
        for number in range(SENTENCES):
            place = document, number, random.integers(WORDS)
            if last is None or random.random() < 0.3:
                last = random.integers(NOUNS)
                source[place] = target[place] = FIRST_NOUN + last
            elif random.random() < 0.6:
                source[place], target[place] = PRONOUN, PRONOUN + 1 + last % GENDERS
    ends = ((0, 0), (0, 0), (0, 1))
    return tuple(torch.tensor(np.pad(x, ends, constant_values=2)) for x in (source, target))


def share_learnt(unroll: int, updates: int) -> float:
    """Of the pronouns in the last tenth of a training, those that are right."""
    random = np.random.default_rng(1)
    model = build_model(words=dictionary(), scattered=False, **SIZES).float().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, betas=(0.9, 0.98))
    right: list[Tensor] = []
    source, target, memories, at = *draw(random), LaneMemories(), 0
    for update in range(updates):
        if at == SENTENCES:
            source, target, memories, at = *draw(random), LaneMemories(), 0
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1.0, (update + 1) / 100)
        loss = torch.zeros(())
        for number, lanes in enumerate(batches(memories, at, unroll), at):
            wanted = target[:, number]
            lengths = torch.full((DOCUMENTS,), WORDS + 1)
            logits, _ = model(source[:, number], lengths, wanted.roll(1, dims=1), lanes=lanes)
            loss = loss + torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted)
            if update >= 0.9 * updates:
                guess = logits[..., PRONOUN + 1 :].argmax(dim=-1) + PRONOUN + 1
                right.append((guess == wanted)[wanted > PRONOUN])
        at += unroll
        optimizer.zero_grad()
        (loss / unroll).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return float(torch.cat(right).float().mean())


def batches(memories: LaneMemories, at: int, unroll: int) -> list[LaneBatch]:
    numbers = range(at, at + unroll)
    rows = [[LaneRow(i, n, n - 1 if n else -1) for i in range(DOCUMENTS)] for n in numbers]
    if unroll == 1:
        return [LaneBatch(memories, rows[0])]
    return LaneColumns(memories, rows).batches()


@pytest.mark.slow
def test_feedback_learns_what_to_carry_only_with_gradients_from_later_sentences() -> None:
    """Carried keys and values bring no gradient to their projections."""
    assert share_learnt(unroll=1, updates=500) < 0.5
    assert share_learnt(unroll=2, updates=500) > 0.7
