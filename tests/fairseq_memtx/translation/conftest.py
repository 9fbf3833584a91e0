"""Models with the text of the sample, for tests that look at all that is known of a translation."""

from pathlib import Path

import pytest

from tests.checkpoints import write_scattered


@pytest.fixture(scope="session")
def models(
    tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Of each decoder a model whose translations differ from line to line."""
    folder = tmp_path_factory.mktemp("models")
    return {
        name: write_scattered(path, folder / f"{name}.pt")
        for name, path in tiny_checkpoints.items()
    }


@pytest.fixture(scope="session")
def text(prepared_sample: Path) -> dict[str, list[str]]:
    """The first lines of the test set in both languages."""
    return {
        language: (prepared_sample / "refs" / f"test.{language}")
        .read_text(encoding="utf-8")
        .split("\n")[:12]
        for language in ("en", "de")
    }
