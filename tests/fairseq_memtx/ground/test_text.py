import json
import random
from pathlib import Path

import pytest

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.text import (
    UNKNOWN,
    TextSteps,
    clean,
    has_control,
    is_blank,
    join,
    load_subwords,
    looks_like_utf16,
    symbols,
)


def test_nothing_asked_for_changes_nothing() -> None:
    text = "“It's 3 % & more” — 'n' <b>"
    assert TextSteps().before("en")(text) == text


def test_moses_does_not_escape() -> None:
    words = TextSteps("moses").before("en")('It\'s <b> & "c" [d] | e')
    assert "&" in words.split() and "<" in words
    assert not any(escape in words for escape in ("&apos;", "&amp;", "&lt;", "&quot;", "&#91;"))


def test_moses_knows_the_language() -> None:
    assert TextSteps("moses").before("en")("We met Dr. Ray.") == "We met Dr. Ray ."
    assert TextSteps("moses").before("de")("Am 3. Mai kam sie.") == "Am 3. Mai kam sie ."
    assert TextSteps("moses").before("en")("Am 3. Mai kam sie.") == "Am 3 . Mai kam sie ."


@pytest.mark.parametrize(
    ("text", "control"),
    [("a b", False), ("a\tb", False), ("a\r", False), ("a\rb", True), ("a\x00", True),
     ("\ufeffa", True), ("a\u2029b", True), ("a\u00a0b", False)],
)  # fmt: skip
def test_control_characters(text: str, control: bool) -> None:
    assert has_control(text) is control
    assert not has_control(clean(text))


@pytest.mark.parametrize(
    ("text", "blank"), [("", True), (" \u3000\u00a0", True), ("\u200b", True), ("\u200b.", False)]
)
def test_blank(text: str, blank: bool) -> None:
    assert is_blank(text) is blank


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [("a\x00b\x1bc\x7fd\x92e", "a b c d e"), ("Zu\u00adsam\u00admen", "Zusammen"),
     ("\u00ad \u200b\u2060", ""), ("a\u2028b\x85c", "a b c"), (" a\r", "a"),
     ("\ufeffa  b", "a  b"), ("\u00a0", "")],
)  # fmt: skip
def test_cleaning(line: str, cleaned: str) -> None:
    assert clean(line) == cleaned == TextSteps().before("en")(line)
    assert clean(cleaned) == cleaned


def test_blank_lines_stay_blank_whatever_the_steps() -> None:
    for steps in (TextSteps("moses", True), TextSteps("moses"), TextSteps()):
        assert steps.before("de")("\u00ad\t\u200b") == ""
    assert TextSteps("moses").after("de")("Hallo , Welt !") == "Hallo, Welt!"


def test_the_preparation_tells_the_steps(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    assert TextSteps.of(tmp_path / "bin") == TextSteps("none", False)
    told = {"options": {"tokenizer": "moses", "normalize": True}}
    (tmp_path / "prepared.json").write_text(json.dumps(told))
    assert TextSteps.of(tmp_path / "bin") == TextSteps("moses", True)


@pytest.mark.parametrize(
    "told",
    ["", "{", "[]", "null", "3", '{"options": []}', '{"options": {"tokenizer": 3}}',
     '{"options": {"tokenizer": ["moses"]}}', '{"options": {"normalize": "yes"}}', "[" * 99999],
)  # fmt: skip
def test_what_tells_no_steps_is_refused(told: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "prepared.json").write_text(told)
    with pytest.raises(UserError) as raised:
        TextSteps.of(tmp_path / "bin")
    assert "\n" not in str(raised.value)


def test_joining_is_that_of_fairseq_and_of_sentencepiece(prepared_sample: Path) -> None:
    """Of random pieces, known and unknown; sentencepiece alone spells the unknown otherwise."""
    from argparse import Namespace

    from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE

    path = prepared_sample / "bin" / "sentencepiece.bpe.model"
    told = {"sentencepiece_model": str(path), "sentencepiece_enable_sampling": False}
    theirs = SentencepieceBPE(Namespace(**told, sentencepiece_alpha=None))
    model = load_subwords(path)
    pieces, draw = symbols(model)[3:], random.Random(5)
    for _ in range(300):
        some = draw.choices([*pieces, "\u2581"], k=draw.randint(0, 12))
        assert join(some) == model.decode(some).strip()
        some = [piece if draw.random() < 0.8 else UNKNOWN for piece in some]
        assert join(some) == theirs.decode(" ".join(some))


def test_bytes_become_characters() -> None:
    pieces = ["\u2581a", *(f"<0x{byte:02X}>" for byte in "€ü".encode()), "b", "<0xFF>", "\u2581c"]
    assert join(pieces) == "a€üb\ufffd c"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_utf16_is_told_from_utf8(encoding: str) -> None:
    for text in ("Hello there, it is raining.\n", "Grüße aus Köln, wo es regnet.\n"):
        assert looks_like_utf16(text.encode(encoding))
        assert not looks_like_utf16(text.encode())
    assert not looks_like_utf16(b"") and not looks_like_utf16(b"\xef\xbb\xbfa\0b mostly text")
