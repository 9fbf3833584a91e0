"""Refuses flags of generation, data and training that cannot be together, in one line.

Stock: assertions and KeyErrors, some of them only after the model and the data are loaded, or once
the first sentence is translated. May go once fairseq looks at its flags before it begins.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

from ..ground.errors import UserError
from .wrapping import wrap

#: The one task of fairseq's whose search refines what it found, and keeps the steps of it.
REFINING = "translation_lev"


def apply() -> None:
    """Wrap fairseq's reading of the command line, and a search, which knows the longest source."""
    from fairseq import options
    from fairseq.sequence_generator import SequenceGenerator

    wrap(options, "parse_args_and_arch", _read_flags)
    wrap(SequenceGenerator, "_generate", _explain_lengths)


def _read_flags(
    stock: Callable[..., Any], parser: argparse.ArgumentParser, *given: Any, **how: Any
) -> Any:
    found = stock(parser, *given, **how)
    if how.get("suppress_defaults"):
        return found  # the same flags once more, without their defaults
    args = found[0] if isinstance(found, tuple) else found
    titles = {group.title for group in parser._action_groups}
    problems = [*_of_batches(args)]
    if "Generation" in titles:
        interactively = "Interactive" in titles
        problems += [*_of_search(args), *_of_output(args), *_of_unknowns(args, interactively)]
        problems += _of_typing(args) if interactively else _of_files(args)
    if "optimization" in titles:
        problems += [*_of_training(args), *_of_ranks(args)]
    if problems:
        raise UserError(problems[0])
    return found


def _of_batches(args: argparse.Namespace) -> Iterator[str]:
    for name in ("max_tokens", "batch_size"):
        if getattr(args, name, None) is not None and getattr(args, name) < 1:
            flag = name.replace("_", "-")
            yield f"--{flag} must be at least 1, but is {getattr(args, name)}"


def _of_search(args: argparse.Namespace) -> Iterator[str]:
    """What chooses a kind of search excludes others, and each has flags of its own."""
    kinds = {
        "--sampling": args.sampling,
        "--diverse-beam-groups": args.diverse_beam_groups > 0,
        "--match-source-len": args.match_source_len,
        "--diversity-rate": args.diversity_rate > 0,
        "--constraints": args.constraints is not None,
    }
    chosen = [name for name, is_on in kinds.items() if is_on]
    if len(chosen) > 1:
        yield f"{' and '.join(chosen)} cannot be used together: leave all but one out"
    if args.sampling and args.nbest != args.beam:
        yield f"--nbest must be --beam, which is {args.beam}, with --sampling, but is {args.nbest}"
    for name in ("sampling_topk", "sampling_topp"):
        if getattr(args, name) >= 0 and not args.sampling:
            yield f"--{name.replace('_', '-')} must come with --sampling"
    if args.diverse_beam_groups > 0 and args.beam % args.diverse_beam_groups:
        yield (
            "--beam must be a multiple of --diverse-beam-groups, which is"
            f" {args.diverse_beam_groups}, but is {args.beam}"
        )
    if args.beam < 1:
        yield f"--beam must be at least 1, but is {args.beam}"
    if args.temperature <= 0:
        yield f"--temperature must be above 0, but is {args.temperature}"
    if args.max_len_a == 0 and args.min_len > args.max_len_b:
        yield (
            f"--min-len must be at most --max-len-b, which is {args.max_len_b}, but is"
            f" {args.min_len}"
        )


def _of_output(args: argparse.Namespace) -> Iterator[str]:
    for name in ("print_step", "retain_iter_history"):
        if getattr(args, name) and args.task != REFINING:
            yield f"--{name.replace('_', '-')} must be left out: only --task {REFINING} has steps"
    if args.path is None:
        yield "--path must be the checkpoint to generate with, but is not given"
    if not _is_dictionary(args.model_overrides):
        yield f"--model-overrides must be a dictionary, but is {args.model_overrides!r}"
    if not _joins_subwords(args.post_process):
        yield f"--post-process must be a way to join subwords, but is {args.post_process!r}"


def _is_dictionary(text: str) -> bool:
    try:
        return isinstance(ast.literal_eval(text), dict)
    except (ValueError, SyntaxError):
        return False


def _joins_subwords(way: str | None) -> bool:
    from fairseq.data import data_utils

    try:
        data_utils.post_process("", way)
    except NotImplementedError:
        return False
    return True


def _of_unknowns(args: argparse.Namespace, interactively: bool) -> Iterator[str]:
    if args.replace_unk is None:
        return
    if not interactively and args.dataset_impl != "raw":
        yield "--replace-unk must come with --dataset-impl raw, which keeps the words of the source"
    # Where fairseq has joined the subwords of the source before they are looked up.
    joined = ("post_process",) if interactively else ("bpe", "tokenizer")
    for name in joined:
        if getattr(args, name) is not None:
            yield (
                f"--{name.replace('_', '-')} must be left out with --replace-unk, which looks up"
                " subwords of the source by their places"
            )


def _of_files(args: argparse.Namespace) -> Iterator[str]:
    if args.constraints is not None:
        yield "--constraints must be left out: only fairseq-interactive reads them, from its lines"


def _of_typing(args: argparse.Namespace) -> Iterator[str]:
    if args.print_alignment == "soft":
        yield "--print-alignment must be hard with fairseq-interactive, but is soft"
    if args.input != "-" and not os.path.exists(args.input):
        yield f"--input must be a file, but there is no `{args.input}`"
    size, most = args.batch_size, max(args.buffer_size, 1)
    if size is not None and size > most:
        yield f"--batch-size must be at most --buffer-size, which is {most}, but is {size}"


def _of_training(args: argparse.Namespace) -> Iterator[str]:
    if not _is_dictionary(args.optimizer_overrides):
        yield f"--optimizer-overrides must be a dictionary, but is {args.optimizer_overrides!r}"
    if os.path.exists(args.save_dir) and not os.path.isdir(args.save_dir):
        yield f"--save-dir must be a folder, but `{args.save_dir}` is none"


def _of_ranks(args: argparse.Namespace) -> Iterator[str]:
    """What needs fairscale or GPUs that are not here."""
    import torch

    needs = {
        "--ddp-backend fully_sharded": args.ddp_backend == "fully_sharded",
        "--zero-sharding os": args.zero_sharding == "os",
        "--pipeline-model-parallel": args.pipeline_model_parallel,
    }
    for name, is_on in needs.items():
        if is_on and importlib.util.find_spec("fairscale") is None:
            yield f"{name} must be left out: it needs the package fairscale, which is not here"
    gpus, ranks = torch.cuda.device_count(), args.distributed_world_size
    started = args.distributed_init_method or "RANK" in os.environ or "SLURM_JOB_ID" in os.environ
    if ranks > max(gpus, 1) and not started and args.distributed_port <= 0:
        yield (
            f"--distributed-world-size must be at most the number of GPUs, which is {gpus}, but is"
            f" {ranks}: start the ranks one by one with --distributed-init-method and"
            " --distributed-rank where there are others"
        )


def _explain_lengths(stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return stock(*args, **kwargs)
    except AssertionError as error:
        if "min_len cannot be larger than max_len" not in str(error):
            raise
        raise UserError(
            "--min-len must be at most --max-len-a times a source's length and --max-len-b, but is"
            " more for one batch"
        ) from error
