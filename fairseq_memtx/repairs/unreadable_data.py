"""Turns what fairseq says of damaged dictionaries, binary sets and sentencepiece models, and of
splits that are missing or written in another way, into one line that names the file.

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
    from fairseq.data import Dictionary, data_utils, indexed_dataset
    from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE
    from fairseq.tasks.translation import TranslationTask

    wrap(Dictionary, "add_from_file", _add_from_file)
    wrap(indexed_dataset, "infer_dataset_impl", _infer_dataset_impl)
    wrap(indexed_dataset.MMapIndexedDataset, "__init__", _open_set)
    wrap(SentencepieceBPE, "__init__", _open_subwords)
    wrap(TranslationTask, "load_dataset", _load_split)
    wrap(data_utils, "raise_if_valid_subsets_unintentionally_ignored", _tell_ignored)


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


def _load_split(stock: Callable[..., Any], task: Any, split: str, *args: Any, **how: Any) -> Any:
    from fairseq import utils

    for folder in utils.split_paths(task.cfg.data)[:1]:
        check_split_is_there(folder, split, task.cfg)
    return stock(task, split, *args, **how)


def _tell_ignored(stock: Callable[..., Any], cfg: Any) -> None:
    try:
        stock(cfg)
    except ValueError as error:  # validation sets that no flag names; two spaces within
        raise UserError(" ".join(str(error).split())) from error


def check_split_is_there(folder: str, split: str, cfg: Any) -> None:
    """Refuse a split that is missing, or written in another way than `--dataset-impl` says.

    Args:
        folder: of the data.
        split: its name; further parts of it have numbers behind.
        cfg: the task's settings: languages, `dataset_impl`.

    Raises:
        UserError: naming the split.
    """
    from fairseq.data import indexed_dataset

    pairs = (f"{cfg.source_lang}-{cfg.target_lang}", f"{cfg.target_lang}-{cfg.source_lang}")
    prefixes = [os.path.join(folder, f"{split}.{pair}.{cfg.source_lang}") for pair in pairs]
    kinds = {kind for prefix in prefixes if (kind := indexed_dataset.infer_dataset_impl(prefix))}
    kinds |= {"raw" for prefix in prefixes if os.path.isfile(prefix)}
    if not kinds:
        raise UserError(f"`{folder}` has no split `{split}` from {pairs[0].replace('-', ' to ')}")
    wanted = cfg.dataset_impl and str(cfg.dataset_impl).replace("lazy", "cached")
    if wanted and wanted not in kinds:
        found = ", ".join(sorted(kinds))
        raise UserError(
            f"--dataset-impl is {cfg.dataset_impl}, but the data was written as {found}"
        )
