"""The files of the sample: determinism, sizes, splits, statistics, errors."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from data_prep.sample import SampleError, generate
from data_prep.sample.combinations import held_out, pairs
from data_prep.sample.command import main
from data_prep.sample.corpus import Limits, draw_documents, split_sizes
from tests.checkout import CHECKOUT

# Changes with every change of the generated text; GENERATOR_VERSION must then change too.
GOLDEN = "46338b25434a23f1cdaa9bb7b7dc840a4ce65694dff07ff5804783c9045f89de"


def read(path: Path) -> list[str]:
    """Its lines."""
    return path.read_text(encoding="utf-8").splitlines()


def words_of(lines: list[str]) -> set[str]:
    """Their words, numbers left out."""
    words = {word.strip(".,?") for line in lines for word in line.split()}
    return {word for word in words if not any(c.isdigit() for c in word)}


def digest(folder: Path) -> str:
    """One hash over names and bytes of all files."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def test_golden_bytes(tmp_path):
    generate(tmp_path, seed=7, documents=40)
    assert digest(tmp_path) == GOLDEN


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_bytes_do_not_depend_on_the_hash_seed(tmp_path, hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "data_prep.sample", "--out", str(tmp_path / "out")]
    options = ["--seed", "7", "--documents", "40"]
    subprocess.run([*command, *options], check=True, cwd=CHECKOUT, env=environment)
    assert digest(tmp_path / "out") == GOLDEN


def test_another_seed_is_another_text(tmp_path):
    generate(tmp_path, seed=8, documents=40)
    assert digest(tmp_path) != GOLDEN


def test_parallel_files_and_document_sizes(sample):
    for name, split in sample.splits.items():
        assert len({len(split.en), len(split.de), len(split.docid), len(split.context)}) == 1
        assert all(
            line and line == line.strip() and "  " not in line for line in split.en + split.de
        )
        sizes = Counter(split.docid)
        assert list(sizes) == [f"{name}-{number:05d}" for number in range(len(sizes))]
        assert set(sizes.values()) <= set(range(5, 16))
        assert split.docid == sorted(split.docid)


def test_lengths_spread_from_3_to_60_words(sample):
    for side in ("en", "de"):
        lengths = [len(line.split()) for line in getattr(sample.splits["train"], side)]
        assert min(lengths) == 3 and 45 <= max(lengths) <= 60
        assert 9 <= sum(lengths) / len(lengths) <= 13
        shares = [
            sum(low <= n < low + 5 for n in lengths) / len(lengths) for low in range(5, 30, 5)
        ]
        assert shares == sorted(shares, reverse=True) and shares[-1] > 0.01


def test_no_sentence_is_longer_than_asked_for(tmp_path):
    statistics = generate(tmp_path, seed=5, documents=60, limits=Limits(longest=10))
    assert statistics["longest"] == 10
    for side in ("en", "de"):
        lengths = [
            len(line.split())
            for split in ("train", "valid", "test")
            for line in read(tmp_path / f"{split}.{side}")
        ]
        assert min(lengths) == 3 and max(lengths) == 10
    train = statistics["splits"]["train"]
    assert 0.15 < train["context_share"] < 0.35 and set(train["pronoun_distances"]) >= set("12345")


@pytest.mark.parametrize("longest", [7, 61])
def test_an_impossible_length_is_refused(tmp_path, longest):
    with pytest.raises(SampleError, match=f"`longest` is {longest}: it has to be between 8 and 60"):
        Limits(longest=longest)


def test_few_words_make_a_small_language_with_the_same_pronouns(tmp_path, sample):
    statistics = generate(tmp_path, seed=5, documents=400, limits=Limits(longest=10, few=4))
    train, usual = (one["splits"]["train"] for one in (statistics, sample.statistics))
    assert len(words_of(read(tmp_path / "train.de"))) < len(words_of(sample.splits["train"].de)) / 2
    assert abs(train["context_share"] - usual["context_share"]) < 0.05
    assert len(words_of(read(tmp_path / "test.en")) - words_of(read(tmp_path / "train.en"))) < 9


def test_too_few_words_are_refused(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "out"), "--few", "2"]) == 2
    assert "error: `few` is 2: it has to be 0, or at least 4" in capsys.readouterr().err


def test_sentences_are_written_as_sentences(sample):
    for split in sample.splits.values():
        for english, german in zip(split.en, split.de, strict=True):
            for line in (english, german):
                assert line[0].isupper() or line[0].isdigit()
                assert line[-1] in ".?" and ",," not in line and ",." not in line
            assert english[-1] == german[-1]


def test_held_out_pairs_stay_out_of_training():
    with_pairs = Counter()
    for split, (_, lines) in draw_documents(3, 100):
        found = [any(held_out(*pair) for pair in pairs(line.tree)) for line in lines]
        with_pairs[split, any(found)] += 1
    assert with_pairs["train", True] == 0 and with_pairs["train", False] == 94
    assert with_pairs["valid", True] == 3 and with_pairs["test", True] == 3


def test_no_longer_sentence_of_test_is_seen_before(sample):
    """Beyond four words, neither an English line nor a pair comes back in another split."""
    train, valid, test = (sample.splits[name] for name in ("train", "valid", "test"))
    for split, earlier in ((valid, {*train.en}), (test, {*train.en, *valid.en})):
        repeated = [line for line in split.en if line in earlier]
        assert max((len(line.split()) for line in repeated), default=0) <= 4
        assert len(repeated) < 0.1 * len(split.en)


def test_statistics_equal_a_recount(sample):
    written = json.loads((sample.folder / "sample.json").read_text(encoding="utf-8"))
    assert written == sample.statistics
    assert written["seed"] == 5 and written["documents"] == 400
    for name, split in sample.splits.items():
        counts = written["splits"][name]
        assert counts["lines"] == len(split.en)
        assert counts["documents"] == len(set(split.docid))
        assert counts["lines_needing_context"] == split.context.count("1")
        assert counts["context_share"] == round(split.context.count("1") / len(split.en), 4)
        for side in ("en", "de"):
            lines = getattr(split, side)
            words = [line.split(" ") for line in lines]
            histogram = Counter(str(len(line)) for line in words)
            assert counts["length_histogram"][side] == dict(histogram)
            assert counts["words"][side] == sum(map(len, words))
            assert counts["word_types"][side] == len({word for line in words for word in line})
        distances = Counter(str(json.loads(row)["distance"]) for row in split.pronouns)
        distances.pop("0", None)
        assert counts["pronoun_distances"] == dict(distances)


def test_default_sizes():
    assert split_sizes(3200) == {"train": 3000, "valid": 100, "test": 100}
    assert split_sizes(3) == {"train": 1, "valid": 1, "test": 1}


def test_too_few_documents(tmp_path, capsys):
    with pytest.raises(SampleError, match="`documents` is 2: it has to be at least 3"):
        generate(tmp_path / "out", documents=2)
    assert main(["--out", str(tmp_path / "out"), "--documents", "-1"]) == 2
    assert capsys.readouterr().err.endswith("error: `documents` is -1: it has to be at least 3\n")
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("mine", encoding="utf-8")
    assert main(["--out", str(taken), "--documents", "3"]) == 2
    assert "a folder that cannot be written" in capsys.readouterr().err
    assert taken.read_text(encoding="utf-8") == "mine"


def test_interruption_leaves_earlier_files_alone(tmp_path):
    generate(tmp_path, seed=1, documents=3)
    before = digest(tmp_path)

    def interrupt(done: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, seed=2, documents=20, progress=interrupt)
    assert digest(tmp_path) == before
