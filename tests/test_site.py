"""The site of the documentation, where `make docs` has installed what writes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

pytest.importorskip("mkdocs", reason="`make docs` installs what writes the site")


@pytest.mark.slow
def test_the_site_has_the_pages_and_the_docstrings(tmp_path: Path) -> None:
    """A link to nothing, on a page or in a docstring, is an error of `--strict`."""
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=CHECKOUT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Feedback Transformer" in (tmp_path / "index.html").read_text("utf-8")
    assert (tmp_path / "docs" / "training.html").exists()
    reference = (tmp_path / "reference" / "fairseq_memtx.modules.html").read_text("utf-8")
    assert "fairseq_memtx.modules.attention.attend" in reference
    assert '<script src="http' not in reference
