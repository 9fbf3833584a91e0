"""The command that shows a schedule before any training."""

from pathlib import Path

import pytest

from fairseq_memtx.commands import schedule
from fairseq_memtx.ground.errors import UserError

FLAGS = ["--max-tokens", "500", "--memtx-length-schedule"]


def make(data: Path, *flags: str):
    return schedule.make_curriculum(schedule.parse_args([str(data), *FLAGS, *flags]))


def test_the_table_shows_the_schedule_from_start_to_end(
    prepared_sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(prepared_sample / "bin"), *FLAGS, "linear", "--memtx-length-updates", "40"]
    schedule.show(schedule.parse_args([*argv, "--rows", "4", "--memtx-length-start", "8"]))
    lines = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert lines[0].split() == ["update", "length", "share", "of", "the", "data"]
    rows = [line.split() for line in lines[1:]]
    assert [int(row[0]) for row in rows] == [0, 10, 20, 30, 40]
    lengths, shares = [int(r[1]) for r in rows], [float(r[2].rstrip("%")) for r in rows]
    assert lengths[0] == 8 and lengths == sorted(lengths)
    assert shares == sorted(shares) and shares[-1] == 100.0


def test_an_epoch_is_as_long_as_in_training(prepared_sample: Path) -> None:
    alone = make(prepared_sample / "bin", "linear").schedule.updates
    shared = make(prepared_sample / "bin", "linear", "--ranks", "2").schedule.updates
    assert abs(alone - 2 * shared) <= 1 and alone > 10


def test_a_schedule_in_segments_needs_their_length(prepared_sample: Path) -> None:
    flags = ["linear", "--memtx-length-unit", "segments", "--memtx-length-start", "1"]
    for length, flag in ((32, []), (6, ["--memtx-segment-len", "6"])):
        schedule = make(prepared_sample / "bin", *flags, *flag).schedule
        assert schedule.start == length and schedule.end % length == 0


def test_the_plot_is_written(prepared_sample: Path, tmp_path: Path) -> None:
    curriculum = make(prepared_sample / "bin", "competence")
    for name in ("plot.png", "plot.svg"):
        schedule.plot(curriculum, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(UserError, match="cannot be written"):
        schedule.plot(curriculum, tmp_path / "plot.unknown")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plot.png", "plot.svg"]


def test_mistakes_are_told(prepared_sample: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --memtx-length-schedule"):
        make(prepared_sample / "bin", "none")
    with pytest.raises(UserError, match="it has to be at least"):
        make(prepared_sample / "bin", "linear", "--memtx-length-start", "1")
    with pytest.raises(UserError, match="is not a folder"):
        make(tmp_path / "none", "linear")
