"""Where tests in a browser leave pictures of what they saw, for somebody to look at."""

import os
from pathlib import Path
from typing import Any

from tests.checkout import CHECKOUT

#: Names another folder.
VARIABLE = "MEMTX_PICTURES"


def keep(page: Any, name: str) -> Path:
    """A picture of the whole page, as `name`.png; that of an earlier run is replaced."""
    folder = Path(os.environ.get(VARIABLE, CHECKOUT / "pictures"))
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    return path
