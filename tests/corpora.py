"""Where real corpora lie, for the tests and measurements that use them."""

import os
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT


def corpora_dir() -> Path | None:
    """The folder ``$MEMTX_CORPORA``, else ``../shared/data`` beside the checkout, else ``None``."""
    named = os.environ.get("MEMTX_CORPORA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def require_corpus(relative: str) -> Path:
    """A path in the corpora's folder; skips the test where it is missing.

    Args:
        relative: the path, or for a parallel corpus its prefix (``PREFIX.*`` must exist).
    """
    folder = corpora_dir()
    if folder is None:
        pytest.skip("no real corpora here: set MEMTX_CORPORA to their folder")
    path = folder / relative
    if not path.exists() and not list(path.parent.glob(path.name + ".*")):
        pytest.skip(f"{relative} is not among the real corpora here")
    return path
