"""What was measured before an interruption is not measured again, unless it was something else."""

import pytest

from scripts.shared.unfinished import Unfinished


def count_to(parts: Unfinished, number: int) -> list:
    """Parts named by numbers; what measures them fails for the last."""

    def measure(index: int) -> dict:
        if index == number:
            raise KeyboardInterrupt
        parts.notes.append(f"note {index}")
        return {"index": index, "session": parts.sessions}

    return [parts.part(str(index), lambda index=index: measure(index)) for index in range(3)]


def test_parts_are_kept_until_the_file_is_removed(tmp_path):
    path = tmp_path / "a.unfinished"
    with pytest.raises(KeyboardInterrupt):
        count_to(Unfinished(path, {"seed": 1}), 2)
    again = Unfinished(path, {"seed": 1})
    assert again.notes == ["note 0", "note 1"] and again.sessions == 1
    assert [one["session"] for one in count_to(again, 3)] == [0, 1, 1]
    assert again.sessions == 2 and again.notes == ["note 0", "note 1", "note 2"]
    path.unlink()
    assert Unfinished(path, {"seed": 1}).sessions == 0


def test_a_session_that_finds_all_is_not_counted(tmp_path):
    path = tmp_path / "a.unfinished"
    count_to(Unfinished(path, 1), 3)
    again = Unfinished(path, 1)
    count_to(again, 0)  # would fail at the first part that is measured
    assert again.sessions == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"conditions": 3}', None])
def test_parts_of_another_run_are_measured_again(tmp_path, content, caplog):
    path = tmp_path / "a.unfinished"
    if content is None:
        count_to(Unfinished(path, {"seed": 2}), 3)
    else:
        path.write_text(content, encoding="utf-8")
    with caplog.at_level("INFO"):
        again = Unfinished(path, {"seed": 1})
    assert "measured anew" in caplog.text and again.sessions == 0
    with pytest.raises(KeyboardInterrupt):
        count_to(again, 0)
