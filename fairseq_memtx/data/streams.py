"""A text cut into parallel streams, read in order: block after block, row by row.

Row r of every batch goes on where row r of the batch before ended, so that a model can carry a
memory for each row.

Size legend: N tokens, B rows, R = ceil(N / B) tokens of a row, T tokens of a block.
"""

import torch
from fairseq.data import FairseqDataset
from torch import Tensor


class StreamBatches(FairseqDataset):
    """The batches of a text, each a block of T tokens of each of B rows.

    Args:
        tokens: `(N,)`, the text, its end-of-sentence symbols included.
        rows: B on this rank.
        block: T.
        eos, pad: symbols; a text's first word follows `eos`.
        num_shards, shard: ranks, and which one this is; the text is cut into B * num_shards rows.
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
    ):
        self.rows, self.block, self.pad = rows, block, pad
        total = rows * num_shards
        length = -(-tokens.numel() // total)
        target = tokens.new_full((total * length,), pad)
        target[: tokens.numel()] = tokens
        source = target.roll(1)
        source[0] = eos
        source[tokens.numel() :] = pad
        mine = slice(shard * rows, (shard + 1) * rows)
        self.source, self.target = source.view(total, -1)[mine], target.view(total, -1)[mine]

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
