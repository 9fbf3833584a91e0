"""Lets fairseq's flags of precision do what they say, or says in one line why they cannot.

- `--bf16` and `--memory-efficient-bf16`: stock takes them for `--tpu`, and training dies on every
  other machine ("'NoneType' object has no attribute 'xla_device'")
- `--fp16` on a CPU: stock wants the gradients of all parameters in one tensor on the GPU
  (`--fp16-no-flatten-grads` is what works), and after an overflow looks for the GPU again
- two precisions at once: an assertion, or the second is ignored
- `--tpu` without its package, `--fp16-adam-stats` without the optimizer that has them: a traceback

`--amp` on a CPU changes nothing in stock, and does here. May go once fairseq's options leave `tpu`
alone and its trainer asks whether there is a GPU.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..ground.errors import UserError
from .wrapping import wrap

#: Flags that choose a precision, each with those that mean it too.
PRECISIONS = {
    "--fp16": ("--memory-efficient-fp16",),
    "--bf16": ("--memory-efficient-bf16",),
    "--amp": (),
}


def apply() -> None:
    """Wrap fairseq's reading of the command line, and an update."""
    from fairseq import options
    from fairseq.trainer import Trainer

    wrap(options, "parse_args_and_arch", _read_flags)
    wrap(Trainer, "train_step", _explain_overflow)


def _read_flags(
    stock: Callable[..., Any],
    parser: argparse.ArgumentParser,
    input_args: Sequence[str] | None = None,
    *others: Any,
    **kwargs: Any,
) -> Any:
    given = sys.argv[1:] if input_args is None else list(input_args)
    refuse_conflicts(given)
    found = stock(parser, input_args, *others, **kwargs)
    args = found[0] if isinstance(found, tuple) else found
    if "--tpu" not in given and not has_tpu():
        args.tpu = False
    if getattr(args, "fp16", False) and on_cpu(args):
        args.fp16_no_flatten_grads = True
    if getattr(args, "fp16_adam_stats", False) and (on_cpu(args) or not has_fused_adam()):
        raise UserError(
            "leave out --fp16-adam-stats: it needs a GPU and the FusedAdam of apex, which are not"
            " here"
        )
    return found


def refuse_conflicts(given: Sequence[str]) -> None:
    """Raise `UserError` for flags that fairseq lets through and then stumbles over."""
    chosen = [name for name, also in PRECISIONS.items() if {name, *also} & set(given)]
    if len(chosen) > 1:
        raise UserError(f"{' and '.join(chosen)} cannot be used together: leave all but one out")
    if "--tpu" in given and not has_tpu():
        raise UserError("leave out --tpu: it needs the package torch_xla, which is not here")


def _explain_overflow(stock: Callable[..., Any], trainer: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return stock(trainer, *args, **kwargs)
    except (AssertionError, RuntimeError) as error:
        if trainer.cuda or not isinstance(error.__context__, OverflowError):
            raise
        raise UserError(
            "a gradient was too large for float16, from which fairseq cannot go on without a GPU:"
            f" make --fp16-init-scale smaller (it is {trainer.cfg.common.fp16_init_scale}), or use"
            " --bf16"
        ) from error


def on_cpu(args: argparse.Namespace) -> bool:
    """Whether a training with these settings is on a CPU."""
    import torch

    return getattr(args, "cpu", False) or not torch.cuda.is_available()


def has_tpu() -> bool:
    """Whether fairseq could reach a TPU."""
    return importlib.util.find_spec("torch_xla") is not None


def has_fused_adam() -> bool:
    """Whether fairseq finds an Adam that keeps its averages in float16."""
    from fairseq.optim.fused_adam import get_fused_adam_class

    return get_fused_adam_class() is not None
