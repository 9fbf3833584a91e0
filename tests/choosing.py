"""Which of many cases run by default."""

from collections.abc import Iterable
from typing import Any

import pytest


def some(cases: Iterable[Any], every: int) -> list[Any]:
    """Every so many of the cases by default, the first among them; the others by `-m slow`.

    Args:
        cases: each a value, or a tuple of values for several names.
        every: 3 for the first, the fourth, the seventh.
    """
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[pytest.mark.slow] * (number % every != 0),
        )
        for number, case in enumerate(cases)
    ]
