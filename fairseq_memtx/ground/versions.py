"""Which versions a command runs with: told in its log and kept in every record."""

import platform
from importlib import metadata

from fairseq_memtx import __version__

LIBRARIES = ("sentencepiece", "sacremoses", "numpy", "fairseq-fixed", "fairseq", "torch")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that matter, as far as they are installed."""
    found = {"fairseq_memtx": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
