"""The static cache against `BeamCache`: the same attention after any moves of the beams."""

import pytest
import torch

from fairseq_memtx.decoding.beam_cache import BeamCache
from fairseq_memtx.decoding.fused_parts import attend
from fairseq_memtx.decoding.gpu.static_cache import StaticCache

SENTENCES, BEAM, HEADS, DIM, ROOM = 3, 4, 2, 6, 9


def make_static() -> tuple[StaticCache, torch.Tensor]:
    slots = torch.zeros(2, SENTENCES, HEADS, ROOM, BEAM, DIM // HEADS, dtype=torch.float64)
    bias = slots.new_full((SENTENCES, BEAM, ROOM, BEAM), torch.finfo(slots.dtype).min)
    position = torch.zeros(1, dtype=torch.long)
    return StaticCache(slots, bias, position), position


def look(past) -> torch.Tensor:
    query = torch.linspace(-1, 1, SENTENCES * BEAM * DIM, dtype=torch.float64).view(-1, DIM)
    return attend(query, past.read(0), past.read(1), past.bias)[0]


@pytest.mark.parametrize("full", [False, True])
def test_rows_see_what_they_see_in_slots_that_grow(full):
    torch.manual_seed(1)
    static, position = make_static()
    like = torch.empty(SENTENCES, DIM, dtype=torch.float64)
    growing = BeamCache(2, like, HEADS, BEAM)
    growing.move(torch.zeros(SENTENCES, BEAM, dtype=torch.long), None)  # all rows from the start
    for _ in range(ROOM if full else 5):
        entries = torch.randn(SENTENCES * BEAM, 2, DIM, dtype=torch.float64)
        parents = torch.randint(BEAM, (SENTENCES, BEAM))
        for past in (static, growing):
            past.open(BEAM)
            past.write(0, entries)
        torch.testing.assert_close(look(static), look(growing))
        static.move(parents)
        growing.move(parents, None)
        position.add_(1)


def test_before_the_first_position_all_rows_see_zeros():
    static, _ = make_static()
    assert torch.equal(look(static), torch.zeros(SENTENCES * BEAM, DIM, dtype=torch.float64))
