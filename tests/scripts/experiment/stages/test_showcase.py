"""The translations that are shown."""

from scripts.experiment.stages.showcase import choose, show

SOURCES = [" ".join(["word"] * count) for count in (9, 1, 5, 3, 7, 2)]


def test_lengths_spread_from_short_to_long() -> None:
    assert [len(SOURCES[index].split()) for index in choose(SOURCES, 3)] == [2, 5, 9]
    assert choose(["only one"], 3) == [0]
    assert choose([], 3) == []


def test_each_text_has_its_line() -> None:
    shown = show(["a b"], ["c d"], {"feedback-d1-s1": ["e f"]})
    assert shown.split("\n") == [
        "  source          a b",
        "  reference       c d",
        "  feedback-d1-s1  e f",
    ]
