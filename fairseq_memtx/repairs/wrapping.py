"""How functions of fairseq are changed, so that every change can be found and taken back.

`wrap` is the one helper for it. A function may be wrapped several times; the last to come is called
first. fairseq's own stays reachable as `__wrapped__`.
"""

import functools
from collections.abc import Callable
from typing import Any

Around = Callable[..., Any]

#: What takes back each change, in the order in which they were made.
_undo: list[Callable[[], object]] = []


def wrap(owner: Any, name: str, around: Around) -> None:
    """Replace `owner.name` by a function that calls `around(what was there, *arguments)`, once.

    Args:
        owner: a module or a class.
        name: of one of its functions.
        around: doing so again with the same one changes nothing.
    """
    present = getattr(owner, name)
    if around in getattr(present, "memtx_around", ()):
        return

    @functools.wraps(present)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(present, *args, **kwargs)

    wrapped.memtx_around = (*getattr(present, "memtx_around", ()), around)  # type: ignore[attr-defined]
    # fairseq's own function, whatever else of ours stands between.
    if hasattr(present, "memtx_around"):
        wrapped.__wrapped__ = present.__wrapped__
    is_static = isinstance(vars(owner).get(name), staticmethod)
    put(owner, name, staticmethod(wrapped) if is_static else wrapped)


def put(owner: Any, name: str, value: Any) -> None:
    """Set `owner.name`, which it has itself, and remember what was there."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    _undo.append(lambda: setattr(owner, name, before))


def shadow(owner: Any, name: str, value: Any) -> None:
    """Set `owner.name` in front of a builtin of that name, or of nothing, until it is undone."""
    if vars(owner).get(name) is value:
        return
    setattr(owner, name, value)
    _undo.append(lambda: delattr(owner, name))


def when_undone(take_back: Callable[[], object]) -> None:
    """Call `take_back` once when all changes are taken back."""
    if take_back not in _undo:
        _undo.append(take_back)


def undo_all() -> None:
    """Take back all changes, the last one first."""
    while _undo:
        _undo.pop()()
