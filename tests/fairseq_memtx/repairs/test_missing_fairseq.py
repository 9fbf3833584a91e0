"""Without fairseq, one line says what to install; another missing library is named as it is."""

import pytest

from fairseq_memtx.repairs import missing_fairseq


@pytest.mark.parametrize(
    "failure, says",
    [
        (ModuleNotFoundError("No module named 'fairseq'", name="fairseq"), "is not installed"),
        (ValueError("mutable default"), r"does not import on this Python \(mutable default\)"),
    ],
)
def test_missing_fairseq_says_what_to_install(
    failure: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise failure

    monkeypatch.setattr(missing_fairseq.importlib, "import_module", fail)
    with pytest.raises(ImportError, match=f"{says}: pip install fairseq-fixed"):
        missing_fairseq.apply()


def test_a_library_that_fairseq_misses_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'bitarray'", name="bitarray")

    monkeypatch.setattr(missing_fairseq.importlib, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="bitarray"):
        missing_fairseq.apply()
