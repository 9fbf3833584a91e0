"""Lets fairseq-validate do without `--task`, as it is documented.

Stock looks its flags up under the task None: a KeyError. The task itself comes from the checkpoint,
here as there. May go once fairseq-validate has a default.
"""

import argparse
from collections.abc import Callable
from typing import Any

from .wrapping import wrap

#: fairseq's other commands' default; it has every flag that a validation needs.
DEFAULT = "translation"


def apply() -> None:
    """Wrap fairseq's reading of the command line: the parser is made before this package loads."""
    from fairseq import options

    wrap(options, "parse_args_and_arch", _with_task)


def _with_task(
    stock: Callable[..., Any], parser: argparse.ArgumentParser, *args: Any, **kwargs: Any
) -> Any:
    has_task = any(action.dest == "task" for action in parser._actions)
    if has_task and parser.get_default("task") is None:
        parser.set_defaults(task=DEFAULT)
    return stock(parser, *args, **kwargs)
