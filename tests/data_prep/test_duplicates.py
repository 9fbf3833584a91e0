from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.duplicates import mark_all, mark_first


def naive(hashes: list[int]) -> list[int]:
    seen: set[int] = set()
    return [int(not (h in seen or seen.add(h))) for h in hashes]  # type: ignore[func-returns-value]


def marked(folder: Path, hashes: list[int], slice_pairs: int) -> tuple[int, list[int]]:
    (folder / "hashes").write_bytes(np.array(hashes, "<u8").tobytes())
    dropped = mark_first(folder / "hashes", folder / "keep", slice_pairs)
    return dropped, list((folder / "keep").read_bytes())


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), max_size=60),
    st.sampled_from([1, 4, 1000]),
)
def test_equals_the_naive_way(
    tmp_path_factory: pytest.TempPathFactory, hashes: list[int], slice_pairs: int
) -> None:
    dropped, keep = marked(tmp_path_factory.mktemp("d"), hashes, slice_pairs)
    assert keep == naive(hashes)
    assert dropped == len(hashes) - sum(keep)


def test_many_slices(tmp_path: Path) -> None:
    hashes = np.random.default_rng(1).integers(0, 2**64, 5000, np.uint64)
    hashes = np.concatenate([hashes, hashes[:700]])
    dropped, keep = marked(tmp_path, hashes.tolist(), 100)
    assert dropped == 700
    assert keep == [1] * 5000 + [0] * 700


def test_mark_all(tmp_path: Path) -> None:
    (tmp_path / "hashes").write_bytes(bytes(8 * 10))
    assert mark_all(tmp_path / "hashes", tmp_path / "keep") == 0
    assert (tmp_path / "keep").read_bytes() == b"\x01" * 10
