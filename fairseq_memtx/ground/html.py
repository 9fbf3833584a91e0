"""Pages that are one file: their parts, which lie beside the code, and how a policy names them."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources


def part_of_page(package: str | None, name: str) -> str:
    """A file of a package as text."""
    assert package is not None
    return (resources.files(package) / name).read_text(encoding="utf-8")


def hash_of_inline(text: str) -> str:
    """By which a policy (CSP) names a script or a style that stands in an element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
