"""The text of the studies of characters: how it is split and spelt, and what is refused."""

import pytest

from fairseq_memtx.ground.errors import UserError
from scripts.studies.characters import text

TEXT = "First Citizen:\nSpeak, speak.\n\nAll:\nResolved. resolved.\n" * 20


def test_a_text_is_split_at_line_ends_and_nothing_is_lost():
    parts = text.split_text(TEXT)
    assert list(parts) == ["train", "valid", "test"]
    joined = "".join(line + "\n" for lines in parts.values() for line in lines)
    assert joined == TEXT
    sizes = [sum(len(line) + 1 for line in lines) / len(TEXT) for lines in parts.values()]
    assert sizes == pytest.approx([0.9, 0.05, 0.05], abs=0.03)
    assert text.spell("a bc") == "a ▁ b c"
    assert text.spell("") == ""


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": ["ab"], "valid": ["ac"], "test": ["a"]}, "'c' of valid does not occur in train"),
        (
            {"train": ["a\tb"], "valid": ["a"], "test": ["a"]},
            r"train holds '\\t'",
        ),
        ({"train": ["a▁"], "valid": ["a"], "test": ["a"]}, "holds '▁'"),
        ({"train": ["a"], "valid": ["a"], "test": []}, "`test` gets no line"),
    ],
)
def test_text_that_the_spelling_would_change_is_refused(parts, message):
    with pytest.raises(UserError, match=message):
        text.check(parts)
