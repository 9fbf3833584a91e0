"""State tracking: which printed values are counted, and as what."""

from scripts.studies.programs.scoring import count_right, printed_in


def test_values_are_counted_by_distance_and_where_their_program_was_seen() -> None:
    programs = [text.split() for text in ("x = 3 ; print x ; END", "x = 4 ; x ++ ; print x ; END")]
    printed = printed_in(programs)
    assert [(one.position, one.value, one.distance) for one in printed] == [
        (6, "3", 3),
        (18, "5", 3),
    ]
    told = ["3"] * 21
    assert count_right(told, printed, row=21) == {"3": [1, 2]}
    assert count_right(told, printed, row=11) == {"3": [1, 1]}  # the second begins in the first row
    told[18] = "5"
    assert count_right(told, printed, row=21) == {"3": [2, 2]}
