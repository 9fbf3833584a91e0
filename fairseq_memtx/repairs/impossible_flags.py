"""Refuses flags of generation, data and training that cannot be together, in one line.

Stock: assertions and KeyErrors, some of them only after the model and the data are loaded, or once
the first sentence is translated; a training that ends well, having trained nothing
(`--write-checkpoints-asynchronously`), or saves only its last checkpoint (`--use-sharded-state`).
May go once fairseq looks at its flags before it begins.
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
    if "distributed_training" in titles:
        problems += _of_fairscale(args)
    if "optimization" in titles:
        problems += [*_of_training(args), *_of_ranks(args)]
    if problems:
        raise UserError(problems[0])
    return found


def _of_batches(args: argparse.Namespace) -> Iterator[str]:
    for name in ("max_tokens", "batch_size"):
        if getattr(args, name, None) is not None and getattr(args, name) < 1:
            flag = name.replace("_", "-")
            yield f"--{flag} is {getattr(args, name)}: it has to be at least 1"


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
        yield f"--nbest is {args.nbest}: with --sampling it has to be {args.beam}, as --beam is"
    for name in ("sampling_topk", "sampling_topp"):
        if getattr(args, name) >= 0 and not args.sampling:
            yield f"--{name.replace('_', '-')} is for --sampling: give that flag too"
    if args.diverse_beam_groups > 0 and args.beam % args.diverse_beam_groups:
        yield (
            f"--beam is {args.beam}: it has to be a multiple of --diverse-beam-groups, which is"
            f" {args.diverse_beam_groups}"
        )
    if args.beam < 1:
        yield f"--beam is {args.beam}: it has to be at least 1"
    if args.temperature <= 0:
        yield f"--temperature is {args.temperature}: it has to be above 0"
    if args.max_len_a == 0 and args.min_len > args.max_len_b:
        yield (
            f"--min-len is {args.min_len}: it has to be at most --max-len-b, which is"
            f" {args.max_len_b}"
        )


def _of_output(args: argparse.Namespace) -> Iterator[str]:
    for name in ("print_step", "retain_iter_history"):
        if getattr(args, name) and args.task != REFINING:
            yield f"only --task {REFINING} has steps: leave --{name.replace('_', '-')} out"
    if args.path is None:
        yield "--path is not given: name the checkpoint to generate with"
    if not _is_dictionary(args.model_overrides):
        yield f"--model-overrides is {args.model_overrides!r}: it has to be a dictionary"
    if not _joins_subwords(args.post_process):
        yield f"--post-process is {args.post_process!r}, which is no way to join subwords"


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
        yield "--replace-unk copies words of the source: give --dataset-impl raw, which keeps them"
    # Where fairseq has joined the subwords of the source before they are looked up.
    joined = ("post_process",) if interactively else ("bpe", "tokenizer")
    for name in joined:
        if getattr(args, name) is not None:
            yield (
                "--replace-unk looks up subwords of the source by their places: leave"
                f" --{name.replace('_', '-')} out"
            )


def _of_files(args: argparse.Namespace) -> Iterator[str]:
    if args.constraints is not None:
        yield "only fairseq-interactive reads constraints, from its lines: leave --constraints out"


def _of_typing(args: argparse.Namespace) -> Iterator[str]:
    if args.print_alignment == "soft":
        yield "--print-alignment is soft: with fairseq-interactive it has to be hard"
    if args.input != "-" and not os.path.exists(args.input):
        yield f"there is no file `{args.input}`: name another by --input"
    size, most = args.batch_size, max(args.buffer_size, 1)
    if size is not None and size > most:
        yield f"--batch-size is {size}: it has to be at most --buffer-size, which is {most}"


def _of_training(args: argparse.Namespace) -> Iterator[str]:
    if args.write_checkpoints_asynchronously and importlib.util.find_spec("iopath") is None:
        yield (
            "--write-checkpoints-asynchronously needs the package iopath, which is not here: leave"
            " it out"
        )
    if args.use_sharded_state and args.ddp_backend != "fully_sharded":
        yield "--use-sharded-state is for --ddp-backend fully_sharded: leave it out"
    if args.cpu_offload and args.ddp_backend != "fully_sharded":
        yield "--cpu-offload is for --ddp-backend fully_sharded: leave it out"
    if not _is_dictionary(args.optimizer_overrides):
        yield f"--optimizer-overrides is {args.optimizer_overrides!r}: it has to be a dictionary"
    if os.path.exists(args.save_dir) and not os.path.isdir(args.save_dir):
        yield f"`{args.save_dir}` is no folder: name another by --save-dir"


def _of_fairscale(args: argparse.Namespace) -> Iterator[str]:
    """What needs that package, which is seldom there."""
    needs = {
        "--ddp-backend fully_sharded": args.ddp_backend == "fully_sharded",
        "--zero-sharding os": args.zero_sharding == "os",
        "--pipeline-model-parallel": args.pipeline_model_parallel,
    }
    for name, is_on in needs.items():
        if is_on and importlib.util.find_spec("fairscale") is None:
            yield f"{name} needs the package fairscale, which is not here: leave it out"


def _of_ranks(args: argparse.Namespace) -> Iterator[str]:
    """What needs GPUs that are not here."""
    import torch

    gpus, ranks = torch.cuda.device_count(), args.distributed_world_size
    started = args.distributed_init_method or "RANK" in os.environ or "SLURM_JOB_ID" in os.environ
    if ranks > max(gpus, 1) and not started and args.distributed_port <= 0:
        yield (
            f"--distributed-world-size is {ranks}, but there are {gpus} GPUs: start the ranks one"
            " by one, with --distributed-init-method and --distributed-rank"
        )


def _explain_lengths(stock: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return stock(*args, **kwargs)
    except AssertionError as error:
        if "min_len cannot be larger than max_len" not in str(error):
            raise
        raise UserError(
            "--min-len is more than --max-len-a times the length of a source and --max-len-b allow:"
            " make it smaller"
        ) from error
