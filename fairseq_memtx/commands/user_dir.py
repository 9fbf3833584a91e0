"""Print where the package lies, for fairseq's flag: ``--user-dir "$(memtx user-dir)"``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from fairseq_memtx.ground.shell import USER_DIR


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of `memtx user-dir`: none."""
    parser = argparse.ArgumentParser(prog="memtx user-dir", description=__doc__)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `memtx user-dir`."""
    parse_args(argv)
    print(USER_DIR)
    return 0
