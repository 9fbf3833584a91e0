"""A text cut into parallel streams, read in order: block after block, row by row.

Row r of every batch goes on where row r of the batch before ended, so that a model can carry a
memory for each row. A checkpoint within an epoch holds that memory beside the position.

Size legend: n tokens, B rows, ceil(n / B) tokens of a row, T tokens of a block.
"""

from collections.abc import Callable
from typing import Any

import torch
from fairseq.data import FairseqDataset
from torch import Tensor

from .carrying import CarryingIterator, State


class StreamBatches(FairseqDataset):
    """The batches of a text, each a block of T tokens of each of B rows.

    Args:
        tokens: `(n,)`, the text, its end-of-sentence symbols included.
        rows: B on this rank.
        block: T.
        eos, pad: symbols; a text's first word follows `eos`.
        num_shards, shard: ranks, and which one this is; the text is cut into B * num_shards rows.
        labels: `(n,)`, what each position is to tell, `pad` for nothing; None for the next word.
    """

    def __init__(
        self,
        tokens: Tensor,
        rows: int,
        block: int,
        eos: int,
        pad: int,
        num_shards: int = 1,
        shard: int = 0,
        labels: Tensor | None = None,
    ):
        self.tokens, self.labels = tokens, labels
        self.rows, self.block, self.pad = rows, block, pad
        self.num_shards, self.shard = num_shards, shard
        if labels is None:
            source, target = tokens.roll(1), tokens
            source[:1] = eos
        else:
            source, target = tokens, labels
        self.source, self.target = self._rows(source), self._rows(target)

    def _rows(self, tokens: Tensor) -> Tensor:
        """This rank's rows `(B, R)` of a text."""
        total = self.rows * self.num_shards
        length = -(-tokens.numel() // total)
        filled = tokens.new_full((total * length,), self.pad)
        filled[: tokens.numel()] = tokens
        return filled.view(total, -1)[self.shard * self.rows : (self.shard + 1) * self.rows]

    def __len__(self) -> int:
        return -(-self.source.size(1) // self.block)

    def __getitem__(self, index: int) -> dict:
        part = slice(index * self.block, (index + 1) * self.block)
        source, target = self.source[:, part].contiguous(), self.target[:, part].contiguous()
        lengths = source.ne(self.pad).sum(dim=1)
        return {
            "id": torch.arange(self.rows) + index * self.rows,
            "nsentences": self.rows,
            "ntokens": int(target.ne(self.pad).sum()),
            "block": index,
            "net_input": {"src_tokens": source, "src_lengths": lengths},
            "target": target,
        }

    def collater(self, samples: list[dict]) -> dict:
        """The one item, which is a whole batch already."""
        (sample,) = samples
        return sample

    def num_tokens(self, index: int) -> int:
        """Tokens of a batch."""
        return self.rows * self.block

    def size(self, index: int) -> int:
        """Tokens of a row of a batch."""
        return self.block


class StreamBatchIterator(CarryingIterator):
    """fairseq's iterator over epochs of `StreamBatches`, in order.

    Args:
        batches: of this rank.
        restore: is given the memory's state at the position where a training goes on.
        others: arguments of fairseq's iterator.
    """

    def __init__(self, batches: StreamBatches, restore: Callable[[State], None], **others: Any):
        super().__init__(
            restore,
            {"rows": batches.rows, "block": batches.block},
            "rows, tokens of a row and ranks",
            (batches.num_shards, batches.shard),
            dataset=batches,
            collate_fn=batches.collater,
            batch_sampler=[[index] for index in range(len(batches))],
            disable_shuffling=True,
            **others,
        )
