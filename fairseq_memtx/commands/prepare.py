"""Parallel text to binarised data: what `python -m data_prep` does in a checkout."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `memtx prepare`."""
    # In the checkout a folder of its own, installed a part of this package: see setup.py.
    from fairseq_memtx.data_prep import cli

    return cli.main(argv, prog="memtx prepare")
