"""Memories for searches to begin with: those that texts leave, and some that no text would."""

from random import Random
from typing import Any

import torch
from torch import Tensor

from fairseq_memtx.generation.documents import Reader, Sentences
from fairseq_memtx.modules.carried_memory import CarriedMemory
from fairseq_memtx.modules.lane_memory import LaneBatch, LaneMemories, LaneRow
from fairseq_memtx.modules.segment_memory import LayerMemory, SegmentMemory
from fairseq_memtx.plain.feedback_steps import FeedbackSteps
from tests.fairseq_memtx.generation import draws
from tests.fairseq_memtx.native import compare


class Given(LaneBatch):
    """Memories in the place of what lanes hold, one of each model."""

    def __init__(self, memories: dict[int, Any]):
        super().__init__(LaneMemories(), [])
        self.given = memories

    def read(self, reader: Any, like: Tensor) -> Any:
        return self.given[reader]

    def of_row(self, row: int) -> "Given":
        """Those of a single row, without entries that it does not have."""
        return Given({model: memory.split()[row] for model, memory in self.given.items()})


def words(random: Random, most: int) -> Tensor:
    """A text of that many words at most, and its end."""
    length = random.randint(1, most)
    return torch.tensor([*(random.randrange(4, draws.SIZE) for _ in range(length)), draws.EOS])


def left_by_texts(random: Random, models: list[Any], rows: int) -> LaneBatch:
    """What models remember of no text, one or several, of other lengths in each row."""
    memories, reader = LaneMemories(), Reader(models, draws.PAD)
    numbers = [random.choice([0, 1, 1, 2, 4]) for _ in range(rows)]
    for number in range(max(numbers)):
        some = [LaneRow(lane, number, number - 1) for lane in range(rows) if numbers[lane] > number]
        pairs = [(words(random, 6), words(random, 9).roll(1)) for _ in some]
        sources, inputs = zip(*pairs, strict=True)
        reader.read(Sentences(some, sources, inputs), memories)
    after = [LaneRow(lane, count, count - 1) for lane, count in enumerate(numbers)]
    return LaneBatch(memories, after)


def by_chance(random: Random, models: list[Any], rows: int) -> Given:
    """Numbers drawn at random, also more of them than a model keeps."""
    return Given({id(model): drawn(random, model.decoder, rows) for model in models})


def drawn(random: Random, decoder: Any, rows: int) -> Any:
    """Such a memory of a decoder."""
    of_row = _feedback_row if isinstance(decoder, FeedbackSteps) else _segments_row
    each = [None if random.random() < 0.2 else of_row(random, decoder) for _ in range(rows)]
    some = next((row for row in each if row is not None), None)
    return None if some is None else type(some).join(each)


def _feedback_row(random: Random, decoder: Any) -> CarriedMemory:
    memory, size = decoder.memory, random.choice([0, 1, 3, 8, 40])
    dim = decoder.embed_tokens.embedding_dim // memory.num_heads
    shape = (len(memory.k_proj), 1, memory.num_heads, size, dim)
    return CarriedMemory(torch.randn(shape), torch.randn(shape))


def _segments_row(random: Random, decoder: Any) -> SegmentMemory:
    layers = decoder.all_layers()
    kept = max((decoder.lengths(layer) for layer in layers), key=lambda x: x.memory)
    recent = random.choice([0, 1, kept.memory - 1, kept.memory, kept.memory + 3])
    full = kept.compressed > 0 and recent >= kept.memory  # else nothing was compressed yet
    older = random.choice([0, 1, kept.compressed, kept.compressed + 2]) if full else 0
    dim = decoder.embed_tokens.embedding_dim
    made = []
    for layer in layers:
        compression = getattr(layer.self_attn, "compression", None)
        used = compression is not None and compression.uses_attention and random.random() < 0.8
        usage = torch.rand(1, recent) if used else None
        states = torch.randn(1, recent, dim), torch.randn(1, older, dim)
        made.append(LayerMemory(*states, usage=usage))
    return SegmentMemory(made)


def compare_one(seed: int) -> compare.Watched:
    """Both searches of one batch that begins with memories; what the engine did."""
    random = Random(seed)
    torch.manual_seed(seed)
    number = random.choice([1, 1, 1, 2, 3])
    models = [
        compare.final(draws.draw_model(random, 3 * seed + i, carries=True)) for i in range(number)
    ]
    batch = draws.draw_batch(random)
    rows = len(batch["id"])
    draw = by_chance if random.random() < 0.4 else left_by_texts
    options = draws.draw_options(random, rows)
    options = {name: value for name, value in options.items() if name != "align" or value}
    if options.get("match_source_len"):
        options.pop("align", None)
    with torch.no_grad():
        batch["lanes"] = draw(random, models, rows)
    return compare.check(models, batch, compare.Watched(threads=1 + seed % 3), **options)
