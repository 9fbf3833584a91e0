"""Settings written as text, read as plain values: what fairseq hands to Python's `eval`.

Numbers, texts, lists, tuples, sets and dictionaries of such, `True`, `False`, `None`, and sums,
products and quotients of them, since fairseq's own defaults say `[(512, 3)] * 4`. Nothing is ever
called or looked up by name, and nothing grows beyond what is stated here.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

from .errors import UserError

LONGEST_TEXT = 10_000  # characters
MOST_ITEMS = 10_000  # of a list that a product makes

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def literal(text: str) -> Any:
    """The value that `text` writes down.

    Raises:
        UserError: where it is no plain value, in particular where it would call anything.
    """
    try:
        if len(text) > LONGEST_TEXT:
            raise ValueError("too long")
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        shown = text if len(text) <= 60 else text[:60] + " ..."
        raise UserError(
            f"{shown!r} is not a plain value, such as a number or a list of numbers"
        ) from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and not isinstance(node.value, bytes | complex):
        return node.value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Set):
        return {_value(item) for item in node.elts}
    if isinstance(node, ast.Dict):
        keys = [_value(key) for key in node.keys if key is not None]  # None: **other
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _number(_value(node.operand))
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _combined(_value(node.left), node.op, _value(node.right))
    raise ValueError("no plain value")


def _combined(left: Any, sign: ast.operator, right: Any) -> Any:
    """The two values combined, which must be numbers, or a list as often as a number says."""
    if isinstance(left, list | tuple):
        if isinstance(sign, ast.Mult) and isinstance(right, int):
            if _leaves(left) * right > MOST_ITEMS:
                raise ValueError("too many items")
            return left * right
        if isinstance(sign, ast.Add) and type(left) is type(right):
            return type(left)([*left, *right])
        raise ValueError("no plain value")
    if type(sign) not in _OPERATORS:
        raise ValueError("no plain value")
    return _OPERATORS[type(sign)](_number(left), _number(right))


def _leaves(value: Any) -> int:
    """The values in nested lists, each as often as it stands there."""
    return sum(map(_leaves, value)) if isinstance(value, list | tuple) else 1


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("no number")
    return value
