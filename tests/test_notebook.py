"""The notebook of first steps runs from its first cell to its last, where Jupyter is installed."""

import re
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

nbformat = pytest.importorskip("nbformat", reason="Jupyter is not installed")
nbclient = pytest.importorskip("nbclient", reason="Jupyter is not installed")
NOTEBOOK = CHECKOUT / "docs" / "first-steps.ipynb"


def test_it_is_kept_without_outputs() -> None:
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_it_runs_and_translates(tmp_path: Path) -> None:
    pytest.importorskip("ipykernel", reason="Jupyter is not installed")
    book = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        book, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    printed = "".join(
        output.get("text", "") for cell in book.cells for output in cell.get("outputs", [])
    )
    score = re.search(r'"bleu": \{\s+"score": ([\d.]+)', printed)
    assert score and float(score[1]) > 10, printed
    assert " -> " in printed
    assert (tmp_path / "first-steps" / "mixture.png").exists()
