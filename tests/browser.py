"""The browser of tests, and where they leave pictures of what they saw, for somebody to look at."""

import os
import shutil
from pathlib import Path
from typing import Any

from tests.checkout import CHECKOUT

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: The program; None where there is none.
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
#: Names another folder for pictures.
VARIABLE = "MEMTX_PICTURES"


def keep_picture(page: Any, name: str) -> Path:
    """A picture of the whole page, as `name`.png; that of an earlier run is replaced."""
    folder = Path(os.environ.get(VARIABLE, CHECKOUT / "pictures"))
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    return path
