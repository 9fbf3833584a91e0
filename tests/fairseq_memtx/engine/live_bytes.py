"""Counting the memory of tensors while they live, the same on every machine."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """A context that counts the bytes of all tensors made inside it and still alive.

    Views count once; packed weights of oneDNN, whose memory torch does not show, not at all.

    Attributes:
        now: alive at present.
        peak: the most that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and not x.is_mkldnn:
                self._watch(x.untyped_storage())
        return out

    def _watch(self, storage) -> None:
        size, key = storage.nbytes(), storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
