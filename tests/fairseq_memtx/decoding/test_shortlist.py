"""The lexical table against IBM Model 1 by the book, and the words that a shortlist allows."""

import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_memtx.decoding import lexical_table
from fairseq_memtx.decoding.shortlist import Shortlist, fingerprint

PAIRS = [([4, 5, 2], [6, 7, 2]), ([4, 2], [6, 2]), ([5, 8, 2], [7, 7, 9, 2]), ([4, 4, 2], [6, 2])]


def arrays(pairs=PAIRS):
    return [(np.array(source), np.array(target)) for source, target in pairs]


def model_1(iterations: int) -> dict[tuple[int, int], float]:
    """p(target | source) by loops over words."""
    probs: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        counts: dict[tuple[int, int], float] = defaultdict(float)
        for source, target in PAIRS:
            for t in target:
                whole = sum(probs[s, t] for s in source)
                for s in source:
                    counts[s, t] += probs[s, t] / whole
        totals: dict[int, float] = defaultdict(float)
        for (s, _), count in counts.items():
            totals[s] += count
        probs = defaultdict(float, {(s, t): c / totals[s] for (s, t), c in counts.items()})
    return dict(probs)


@pytest.mark.parametrize("iterations", [1, 2, 6])
def test_the_table_is_that_of_model_1(iterations: int) -> None:
    links, used = lexical_table.link(arrays(), 10, most=1000)
    probs = lexical_table.train(links, iterations)
    found = {(int(k) // 10, int(k) % 10): p for k, p in zip(links.kinds, probs, strict=True)}
    assert used == len(PAIRS)
    assert found == pytest.approx(model_1(iterations), rel=1e-12)


def test_translations_come_best_first() -> None:
    links, _ = lexical_table.link(arrays(), 10, most=1000)
    probs = lexical_table.train(links, 8)
    table = lexical_table.best_targets(links, probs, 10, most=2)
    assert table[4, 0] == 6 and table[5, 0] == 7
    assert (table[[0, 1, 3, 6, 7, 9]] == -1).all()
    expected = sorted(((p, t) for (s, t), p in model_1(8).items() if s == 8), reverse=True)
    assert [t for _, t in expected[:2]] == table[8].tolist()


def test_no_more_links_than_asked_for() -> None:
    links, used = lexical_table.link(arrays(), 10, most=15)
    assert used == 2 and links.kind.size == 13
    links, used = lexical_table.link(arrays(), 10, most=3)
    assert used == 0 and lexical_table.train(links, 2).size == 0


def test_most_frequent_words() -> None:
    found = lexical_table.most_frequent([target for _, target in PAIRS], 10, most=3)
    assert found.tolist() == [2, 6, 7]
    assert lexical_table.most_frequent([[1]], 10, most=3).tolist() == [1]


@pytest.fixture
def shortlist() -> Shortlist:
    translations = torch.tensor([[-1, -1], [-1, -1], [-1, -1], [5, -1], [6, 7], [0, 7]])
    return Shortlist(translations.int(), torch.tensor([1, 2]), 9)


def test_words_of_a_batch_are_those_of_its_sentences(shortlist: Shortlist) -> None:
    assert shortlist.words(torch.tensor([[3, 0]])).tolist() == [1, 2, 5]
    assert shortlist.words(torch.tensor([[0, 4], [5, 5]])).tolist() == [0, 1, 2, 6, 7]
    assert shortlist.words(torch.tensor([[0, 1]])).tolist() == [1, 2]


def test_what_is_saved_is_loaded(shortlist: Shortlist, tmp_path: Path) -> None:
    path = tmp_path / "list.npz"
    shortlist.save(path)
    loaded = Shortlist.load(path, 6, 9)
    assert torch.equal(loaded.translations, shortlist.translations)
    assert torch.equal(loaded.always, shortlist.always)
    assert [file.name for file in tmp_path.iterdir()] == ["list.npz"]


def test_unusable_files_are_refused(shortlist: Shortlist, tmp_path: Path) -> None:
    path = tmp_path / "list.npz"
    with pytest.raises(ValueError, match="there is no shortlist"):
        Shortlist.load(path, 6, 9)
    shortlist.save(path)
    with pytest.raises(ValueError, match="dictionaries of 6 and 9 words, not of 6 and 8"):
        Shortlist.load(path, 6, 8)
    dataclasses.replace(shortlist, dictionaries="one").save(path)
    assert Shortlist.load(path, 6, 9).dictionaries == "one"
    with pytest.raises(ValueError, match="other dictionaries than the model's"):
        Shortlist.load(path, 6, 9, "other")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="not a shortlist, or is cut short"):
        Shortlist.load(path, 6, 9)
    np.savez_compressed(path, translations=np.zeros(1 << 26, np.int8))
    assert path.stat().st_size < 1 << 18
    with pytest.raises(ValueError, match="is damaged: its arrays would take 67,108,992 bytes"):
        Shortlist.load(path, 6, 9)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match="is not a shortlist"):
        Shortlist.load(path, 6, 9)


def test_dictionaries_are_told_by_their_words_and_the_order() -> None:
    one = fingerprint(["a", "b"], ["c"])
    assert one == fingerprint(["a", "b"], ["c"])
    others = [(["b", "a"], ["c"]), (["a"], ["b", "c"]), (["a", "b"], ["d"]), (["c"], ["a", "b"])]
    assert one not in {fingerprint(*words) for words in others}
