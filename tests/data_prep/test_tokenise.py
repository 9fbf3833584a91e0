import pytest

from data_prep.tokenise import has_control, is_blank, make_process, replace_control


def test_nothing_asked_for_changes_nothing() -> None:
    text = "“It's 3 % & more” — 'n' <b>"
    assert make_process("en", "none", False)(text) == text


def test_moses_does_not_escape() -> None:
    words = make_process("en", "moses", False)('It\'s <b> & "c" [d] | e')
    assert "&" in words.split() and "<" in words
    assert not any(escape in words for escape in ("&apos;", "&amp;", "&lt;", "&quot;", "&#91;"))


def test_moses_knows_the_language() -> None:
    assert make_process("en", "moses", False)("We met Dr. Ray.") == "We met Dr. Ray ."
    assert make_process("de", "moses", False)("Am 3. Mai kam sie.") == "Am 3. Mai kam sie ."
    assert make_process("en", "moses", False)("Am 3. Mai kam sie.") == "Am 3 . Mai kam sie ."


@pytest.mark.parametrize(
    ("text", "control"),
    [("a b", False), ("a\tb", False), ("a\r", False), ("a\rb", True), ("a\x00", True),
     ("\ufeffa", True), ("a\u2029b", True), ("a\u00a0b", False)],
)  # fmt: skip
def test_control_characters(text: str, control: bool) -> None:
    assert has_control(text) is control
    assert not has_control(replace_control(text))


@pytest.mark.parametrize(
    ("text", "blank"), [("", True), (" \u3000\u00a0", True), ("\u200b", True), ("\u200b.", False)]
)
def test_blank(text: str, blank: bool) -> None:
    assert is_blank(text) is blank
