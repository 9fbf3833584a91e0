"""What may stand where a file is to be written, and what a folder holds."""

import os
import stat
from pathlib import Path

import pytest


def make_device(path: Path) -> None:
    """A node of the kind of /dev/null."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        path.open("wb").close()
    except PermissionError:
        pytest.skip("only root may make device nodes")


def contents(folder: Path) -> dict[str, object]:
    return {
        path.name: (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in folder.iterdir()
    }
