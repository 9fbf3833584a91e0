"""A folder, read while fairseq is hidden, translates as its checkpoint does with fairseq."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import CHECKOUT
from tests.fairseq_memtx.folder.conftest import DECODERS
from tests.fairseq_memtx.folder.wishes import ask

#: Of float32, through other orders of its sums.
ROUNDING = 1e-5
ALL = {"nbest": 3, "alignment": True}
#: What is asked, how it is searched, and of which decoders.
WAYS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "native engine": ("nbest", {"nbest": 3}, DECODERS),
    "Python": ("nbest", {"native": "off", **ALL}, DECODERS),
    "alignments": ("nbest", ALL, DECODERS),
    "eight bits": ("nbest", {"int8": True, "nbest": 2}, DECODERS),
    "eight bits, Python": ("nbest", {"int8": True, "native": "off"}, DECODERS),
    "shortlist": ("nbest", {"shortlist": "yes"}, DECODERS),
    "shortlist, Python": ("nbest", {"shortlist": "yes", "native": "off"}, DECODERS),
    "prefixes": ("prefixes", {}, ("transformer", "compressive")),
    "scores": ("scores", {"alignment": True}, DECODERS),
    "two workers": ("nbest", {"workers": 2, "batch_size": 1}, ("feedback",)),
    "documents": ("documents", {}, ("transformer-xl", "compressive")),
    "scores in documents": ("document scores", {}, ("transformer-xl",)),
}
ENSEMBLE = ("transformer", "feedback")


def close(got: Any, want: Any) -> None:
    """Equal, numbers within rounding."""
    if isinstance(want, dict):
        assert got.keys() == want.keys()
        got, want = list(got.values()), list(want.values())
    if isinstance(want, list | tuple):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            close(a, b)
    elif isinstance(want, float):
        assert got == pytest.approx(want, rel=ROUNDING, abs=ROUNDING)
    else:
        assert got == want


def test_all_decoders_in_all_ways(
    scattered: dict[str, Path], folders: dict[str, Path], shortlist: Path
) -> None:
    wishes, expected = [], []
    for wanted, how, decoders in WAYS.values():
        how = {**how, **({"shortlist": str(shortlist)} if "shortlist" in how else {})}
        for decoder in decoders:
            wishes.append(([str(folders[decoder])], how, wanted))
            expected.append(ask([str(scattered[decoder])], how, wanted))
    wishes.append(([str(folders[decoder]) for decoder in ENSEMBLE], ALL, "nbest"))
    expected.append(ask([str(scattered[decoder]) for decoder in ENSEMBLE], ALL, "nbest"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fairseq_memtx.folder.without_fairseq", json.dumps(wishes)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for (models, how, wanted), got, want in zip(wishes, found, expected, strict=True):
        try:
            close(got, json.loads(json.dumps(want)))
        except AssertionError as error:
            raise AssertionError(f"{models} {how} {wanted}: {error}") from error
    texts = {one["text"] for some in expected[0] for one in some}
    assert len(texts) > 3, "the models translate everything alike: the comparison is worth nothing"


def test_a_folder_has_its_own_search(folders: dict[str, Path]) -> None:
    from fairseq_memtx.translator import Translator

    search = Translator.from_pretrained(folders["feedback"]).search
    assert (search.beam, search.max_len_a, search.max_len_b) == (3, 0.0, 20)
    assert search.shortlist == str(folders["feedback"] / "shortlist.npz")
