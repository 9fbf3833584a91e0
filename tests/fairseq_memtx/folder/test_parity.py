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
Way = tuple[str, dict[str, Any], tuple[str, ...]]
#: What is asked, how it is searched, and of which decoders.
COMMON: list[Way] = [
    ("nbest", ALL, DECODERS),
    ("scores", ALL, DECODERS),
    ("prefixes", ALL, DECODERS),
    ("documents", ALL, ("transformer-xl", "compressive")),
    ("document scores", ALL, ("transformer-xl", "compressive")),
    ("views", {"nbest": 2}, DECODERS),
    ("document views", {"nbest": 2}, ("transformer-xl", "compressive")),
]
MORE: list[Way] = [
    ("nbest", {"native": "off", **ALL}, DECODERS),
    ("nbest", {"int8": True, "nbest": 2}, DECODERS),
    ("nbest", {"int8": True, "native": "off"}, DECODERS),
    ("nbest", {"shortlist": "yes"}, DECODERS),
    ("nbest", {"shortlist": "yes", "native": "off"}, DECODERS),
    ("nbest", {"workers": 2, "batch_size": 1}, ("feedback",)),
]
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


def compare(wishes: list[tuple[list[Path], list[Path], dict[str, Any], str]]) -> set[str]:
    """Ask folders without fairseq what checkpoints are asked with it; all texts that were found.

    Args:
        wishes: folders, checkpoints, settings, and what is asked.
    """
    asked = [(list(map(str, folders)), how, wanted) for folders, _, how, wanted in wishes]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fairseq_memtx.folder.without_fairseq", json.dumps(asked)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    texts = set()
    for (_, checkpoints, how, wanted), got in zip(wishes, json.loads(done.stdout), strict=True):
        want = json.loads(json.dumps(ask(list(map(str, checkpoints)), how, wanted)))
        try:
            close(got, want)
        except AssertionError as error:
            raise AssertionError(f"{checkpoints} {how} {wanted}: {error}") from error
        texts |= {one["text"] for some in want for one in some} if wanted == "nbest" else set()
    return texts


@pytest.mark.parametrize(
    "some", [("transformer", "compressive"), pytest.param(DECODERS, marks=pytest.mark.slow)]
)
def test_all_decoders(
    some: tuple[str, ...], scattered: dict[str, Path], folders: dict[str, Path]
) -> None:
    wishes = [
        ([folders[decoder]], [scattered[decoder]], how, wanted)
        for wanted, how, decoders in COMMON
        for decoder in decoders
        if decoder in some
    ]
    both = [[paths[decoder] for decoder in ENSEMBLE] for paths in (folders, scattered)]
    texts = compare([*wishes, (both[0], both[1], ALL, "nbest")])
    assert len(texts) > 10, "they translate everything alike: the comparison is worth nothing"


@pytest.mark.slow
def test_all_ways_to_search(
    scattered: dict[str, Path], folders: dict[str, Path], shortlist: Path
) -> None:
    wishes = [
        (
            [folders[decoder]],
            [scattered[decoder]],
            {**how, **({"shortlist": str(shortlist)} if "shortlist" in how else {})},
            wanted,
        )
        for wanted, how, decoders in MORE
        for decoder in decoders
    ]
    assert len(compare(wishes)) > 10


def test_a_folder_has_its_own_search(folders: dict[str, Path]) -> None:
    from fairseq_memtx.translator import Translator

    search = Translator.from_pretrained(folders["feedback"]).search
    assert (search.beam, search.max_len_a, search.max_len_b) == (3, 0.0, 20)
    assert search.shortlist == str(folders["feedback"] / "shortlist.npz")
