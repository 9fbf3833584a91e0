"""Turns what fairseq says of damaged dictionaries, binary sets and sentencepiece models into one
line that names the file.

Stock: tracebacks that end in `assert`, `struct.error`, `buffer is smaller than requested size`, or
no error at all where a data file is cut. May go once fairseq checks its files and names them.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data.binarised import check_pair
from ..ground.errors import UserError
from ..ground.files import in_one_line
from .wrapping import wrap

DICTIONARY = "a dictionary of fairseq's (a word, a space and a count in each line)"


def apply() -> None:
    """Wrap what reads each kind of file."""
    from fairseq.data import Dictionary, indexed_dataset
    from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE

    wrap(Dictionary, "add_from_file", _add_from_file)
    wrap(indexed_dataset, "infer_dataset_impl", _infer_dataset_impl)
    wrap(indexed_dataset.MMapIndexedDataset, "__init__", _open_set)
    wrap(SentencepieceBPE, "__init__", _open_subwords)


def _add_from_file(stock: Callable[..., Any], dictionary: Any, f: Any, *args: Any, **how: Any):
    if not isinstance(f, str | os.PathLike):
        return stock(dictionary, f, *args, **how)
    before = len(dictionary)
    with in_one_line(Path(f), DICTIONARY):
        found = stock(dictionary, f, *args, **how)
    if len(dictionary) == before:
        raise UserError(f"`{f}` holds no word: it has to be {DICTIONARY}")
    return found


def _infer_dataset_impl(stock: Callable[..., Any], path: str) -> Any:
    found = stock(path)
    if found is None and (os.path.exists(f"{path}.idx") or os.path.exists(f"{path}.bin")):
        check_pair(path)  # says what is wrong
    return found


def _open_set(stock: Callable[..., Any], dataset: Any, path: str, *args: Any, **how: Any) -> None:
    try:
        check_pair(path)
    except UserError:
        # What fairseq's `__del__` takes away.
        nothing = types.SimpleNamespace(close=lambda: None)
        dataset._bin_buffer_mmap = types.SimpleNamespace(_mmap=nothing)
        dataset._index = None
        raise
    stock(dataset, path, *args, **how)


def _open_subwords(stock: Callable[..., Any], encoder: Any, cfg: Any) -> None:
    from ..ground.text import load_subwords

    path = Path(cfg.sentencepiece_model)
    load_subwords(path)
    stock(encoder, cfg)
