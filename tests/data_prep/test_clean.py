from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.clean import HASH_BYTES, KEPT, REPLACED, CleanBlock, Cleaner
from data_prep.corpus import Block, ParallelFiles, split_lines
from data_prep.options import Options
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.text import CONTROL

FILES = ParallelFiles("news", Path("news.en"), Path("news.de"))


def block_of(pairs: list[tuple[bytes, bytes]], docids: bytes | None = None) -> Block:
    source, target = (b"".join(p[side] + b"\n" for p in pairs) for side in range(2))
    return Block(FILES, 101, len(pairs), source, target, docids)


def clean(pairs: list[tuple[str, str]], **options: object) -> CleanBlock:
    block = block_of([(s.encode(), t.encode()) for s, t in pairs])
    return Cleaner(Options(**options))(block)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pair", "options", "reason"),
    [
        (("a b", "c d"), {}, KEPT),
        (("", "c d"), {}, "empty"),
        (("a b", " \t "), {}, "empty"),
        (("a b", "\u200b\u00ad"), {}, "empty"),
        (("a " * 251, "c d"), {}, "too many words"),
        (("a " * 250, "c d"), {}, KEPT),
        (("a", "c d"), {"min_words": 2}, "too few words"),
        (("a b c", "c d"), {"max_words": 2}, "too many words"),
        (("a\x07b", "c"), {"control": "drop"}, "control characters"),
        (("a", "c\u2028d"), {"control": "drop"}, "control characters"),
        (("a\tb", "c\r"), {"control": "drop"}, KEPT),  # harmless
    ],
)
def test_each_reason(pair: tuple[str, str], options: dict[str, object], reason: str) -> None:
    cleaned = clean([pair], **options)
    assert +cleaned.counts == Counter({reason: 1})
    assert bool(cleaned.source) == bool(cleaned.target) == (reason == KEPT)


def test_control_characters_become_spaces_and_are_counted() -> None:
    cleaned = clean([("one\rtwo\u2028three", "eins\x85zwei\x00\x01drei"), ("a", "b")])
    assert split_lines(cleaned.source)[0].decode() == "one two three"
    assert split_lines(cleaned.target)[0].decode() == "eins zwei drei"
    assert cleaned.counts == Counter({KEPT: 2, REPLACED: 1})


@pytest.mark.parametrize("side", [0, 1])
def test_invalid_utf8_is_counted_and_located(side: int) -> None:
    bad = (b"Stra\xdfe", b"road")
    block = block_of([(b"a", b"b"), bad if side == 0 else bad[::-1], (b"c", b"d")])
    cleaned = Cleaner(Options())(block)
    assert split_lines(cleaned.source) == [b"a", b"c"]
    assert cleaned.counts["invalid UTF-8"] == 1
    assert cleaned.first_invalid == f"`news.{'en' if side == 0 else 'de'}` line 102"


def test_invalid_utf8_can_be_an_error() -> None:
    block = block_of([(b"a", b"b"), (b"a", b"Stra\xdfe")])
    with pytest.raises(UserError, match=r"`news\.de` line 102 is not UTF-8 at byte 5"):
        Cleaner(Options(invalid_utf8="error"))(block)


def test_invalid_target_is_not_blamed_on_an_equal_source() -> None:
    cleaned = Cleaner(Options())(block_of([(b"\xff", b"\xff")]))
    assert cleaned.first_invalid == "`news.en` line 101"


def test_docids_follow_the_pairs_that_stay() -> None:
    block = block_of([(b"a", b"b"), (b"", b"b"), (b"c", b"d")], b"x\ny\nz\n")
    assert Cleaner(Options())(block).docids == b"x\nz\n"
    assert Cleaner(Options(), qualify_docids=True)(block).docids == b"news:x\nnews:z\n"


def test_lines_without_ids_are_documents_of_their_own_among_documents() -> None:
    block = block_of([(b"a", b"b"), (b"c", b"d")])
    assert Cleaner(Options(), qualify_docids=True)(block).docids == b"news:101\nnews:102\n"
    assert Cleaner(Options())(block).docids == b"\n\n"


def test_hashes_tell_pairs_apart_and_see_repetitions() -> None:
    cleaned = clean([("a b", "c"), ("a", "b c"), ("a b", "c"), ("a b", "d")])
    hashes = [cleaned.hashes[i : i + HASH_BYTES] for i in range(0, 4 * HASH_BYTES, HASH_BYTES)]
    assert hashes[0] == hashes[2]
    assert len(set(hashes)) == 3


def test_normalising_and_tokenising_are_applied() -> None:
    pair = [("He said: “don’t” & left.", "Er sagte: „Nein“ & ging.")]
    plain, moses = clean(pair), clean(pair, tokenizer="moses", normalize=True)
    assert plain.source.decode() == pair[0][0] + "\n"
    assert moses.source.decode() == 'He said : " don \'t " & left .\n'
    assert moses.target.decode() == 'Er sagte : " Nein " & ging .\n'


@given(st.lists(st.tuples(st.binary(max_size=30), st.text(max_size=20)), max_size=20))
def test_every_pair_is_kept_or_counted(pairs: list[tuple[bytes, str]]) -> None:
    raw = [
        (s.replace(b"\n", b" "), t.replace("\n", " ").encode("utf-8", "surrogatepass"))
        for s, t in pairs
    ]
    cleaned = Cleaner(Options())(block_of(raw))
    counts = cleaned.counts.copy()
    del counts[REPLACED]
    assert counts.total() == len(raw)
    kept = counts[KEPT]
    for text in (cleaned.source, cleaned.target, cleaned.docids):
        assert text.count(b"\n") == kept
    assert len(cleaned.hashes) == kept * HASH_BYTES
    for line in split_lines(cleaned.source) + split_lines(cleaned.target):
        assert line and not CONTROL.search(line.decode())
