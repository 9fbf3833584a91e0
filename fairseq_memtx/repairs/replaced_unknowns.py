"""Lets `--replace-unk` put the aligned word of the source in the place of an unknown word.

Stock takes the flag without a file for a file named `@@ `, has alignments only with
`--print-alignment`, and reads neither of their two forms: FileNotFoundError, IndexError, TypeError.
May go once it does what the flag says. fairseq-generate wants `--dataset-impl raw` for it, as in
stock; fairseq-interactive knows unknown words of the source as `<unk>` alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..ground.files import in_one_line
from .wrapping import wrap

#: What fairseq has for the flag without a value.
NO_FILE = "@@ "


def apply() -> None:
    """Wrap what reads the file, what prepares the search, and what makes text of its hypotheses."""
    from fairseq import utils
    from fairseq.models import BaseFairseqModel
    from fairseq.tasks import FairseqTask

    wrap(utils, "load_align_dict", _load)
    wrap(utils, "post_process_prediction", _replace)
    wrap(FairseqTask, "build_generator", _build_generator)
    wrap(BaseFairseqModel, "prepare_for_inference_", _prepare)


def _load(stock: Callable[..., Any], replace_unk: str | None) -> Any:
    if replace_unk is None or replace_unk in ("", NO_FILE):
        return stock("" if replace_unk == NO_FILE else replace_unk)
    with in_one_line(Path(replace_unk), "a text of two words in each line"):
        return stock(replace_unk)


def _build_generator(
    stock: Callable[..., Any], task: Any, models: Any, args: Any, *others: Any, **how: Any
) -> Any:
    return stock(task, models, _with_alignment(args), *others, **how)


def _prepare(stock: Callable[..., Any], model: Any, cfg: Any) -> Any:
    if _with_alignment(cfg.generation) is not cfg.generation:
        cfg = copy.deepcopy(cfg)
        cfg.generation = _with_alignment(cfg.generation)
    return stock(model, cfg)


def _with_alignment(args: Any) -> Any:
    """fairseq's settings of a search, with alignments where unknown words are to be replaced."""
    if getattr(args, "replace_unk", None) is None or args.print_alignment:
        return args
    args = copy.copy(args)
    args.print_alignment = "hard"
    return args


def _replace(
    stock: Callable[..., Any],
    hypo_tokens: Any,
    src_str: str,
    alignment: Any,
    align_dict: Mapping[str, str] | None,
    tgt_dict: Any,
    remove_bpe: str | None = None,
    extra_symbols_to_ignore: Any = None,
) -> Any:
    if align_dict is None:
        return stock(
            hypo_tokens, src_str, alignment, None, tgt_dict, remove_bpe, extra_symbols_to_ignore
        )
    from fairseq.data import data_utils

    ends = {tgt_dict.eos(), tgt_dict.bos(), *(extra_symbols_to_ignore or ())}
    words = [
        None if number == tgt_dict.unk() else tgt_dict[number]
        for number in map(int, hypo_tokens)
        if number not in ends
    ]
    text = " ".join(replaced(words, src_str.split(), alignment, align_dict, tgt_dict.unk_string()))
    text = data_utils.post_process(text, remove_bpe)
    return tgt_dict.encode_line(text, add_if_not_exist=True), text, alignment


def replaced(
    words: Sequence[str | None],
    source: Sequence[str],
    alignment: Any,
    align_dict: Mapping[str, str],
    unknown: str,
) -> list[str]:
    """The words of a hypothesis, unknown ones (None) replaced by what they are aligned with.

    Args:
        words: without the end.
        source: its words, without the end.
        alignment: pairs of places (source, target), or for each target place the shares of the
            source places as text (`soft`); empty where there is none.
        align_dict: what stands for a word of the source; else it is copied.
        unknown: what stays where nothing is aligned.
    """
    places = {}
    for place, one in enumerate(alignment if isinstance(alignment, list) else ()):
        if isinstance(one, tuple):
            places[int(one[1])] = int(one[0])
        else:
            shares = [float(share) for share in one[: len(source)]]
            places[place] = max(range(len(shares)), key=shares.__getitem__, default=-1)
    found = []
    for place, word in enumerate(words):
        at = places.get(place, -1)
        copied = source[at] if 0 <= at < len(source) else unknown
        found.append(align_dict.get(copied, copied) if word is None else word)
    return found
