"""A grid of runs of which some are not finished."""

from pathlib import Path

import pytest

from fairseq_memtx.ground.errors import UserError
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.run import finished

RUNS = [Run("transformer", 1, 1), Run("feedback", 1, 1), Run("feedback", 2, 1)]


def test_runs_without_an_averaged_model_are_left_out(tmp_path: Path, caplog) -> None:
    folder = ExperimentFolder(tmp_path)
    for run in RUNS[:2]:
        folder.run(run).averaged.parent.mkdir(parents=True)
        folder.run(run).averaged.touch()
    with caplog.at_level("INFO"):
        assert finished(folder, RUNS) == RUNS[:2]
    assert "feedback-d2-s1 is left out" in caplog.text


def test_a_grid_without_a_finished_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished run"):
        finished(ExperimentFolder(tmp_path), RUNS)
