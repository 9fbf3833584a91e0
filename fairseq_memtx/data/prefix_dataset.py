"""Pairs whose target may be cut to its beginning, by a limit that comes with the index.

The limit travels with the index, not on the dataset: workers hold copies of the dataset and fetch
ahead of the training.
"""

from typing import Any, NamedTuple

from fairseq.data import BaseWrapperDataset


class CutPair(NamedTuple):
    """A pair's number, and the number of target tokens to keep."""

    number: int
    limit: int


class PrefixDataset(BaseWrapperDataset):
    """fairseq's `LanguagePairDataset`, in which a `CutPair` may stand for an index.

    A cut target has no end symbol: its last token is one of the sentence, so that no end of
    sentence is learnt where there is none. Its inputs are, as ever, the end symbol and then the
    target without its last token.
    """

    def __getitem__(self, index: int | CutPair) -> dict[str, Any]:
        if not isinstance(index, CutPair):
            return self.dataset[index]
        pair = dict(self.dataset[index.number])
        if len(pair["target"]) <= index.limit:
            return pair
        pair["target"] = pair["target"][: index.limit]
        if pair.get("alignment") is not None:
            points = pair["alignment"].view(-1, 2)
            # fairseq refuses a sentence with a point on its last token, normally the end symbol
            pair["alignment"] = points[points[:, 1] < index.limit - 1].flatten()
        return pair

    def prefetch(self, indices: list[int | CutPair]) -> None:
        """fairseq's hook of datasets that are read ahead."""
        self.dataset.prefetch([i.number if isinstance(i, CutPair) else i for i in indices])
