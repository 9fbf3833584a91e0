"""The SLURM job: it is queued again when its time was over, and goes on; it is not otherwise.

SLURM's own commands are stood in for: `srun` starts its command, `scontrol` writes down what it was
asked for.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT
from tests.fairseq_memtx.checkpoint_files import updates_in
from tests.fairseq_memtx.tiny_training import TINY, make_data

SCRIPT = CHECKOUT / "scripts" / "pipelines" / "train.sbatch"


def write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.fixture
def slurm(programs: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a job; the file `task` tells its training's process."""
    write_program(tmp_path / "srun", f'echo $$ > {tmp_path}/task; exec "$@"')
    write_program(tmp_path / "scontrol", f'echo "$@" > {tmp_path}/asked')
    paths = {"PATH": f"{tmp_path}:{programs}:{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT)}
    job = {"SLURM_JOB_ID": "7", "DATA": str(tmp_path / "data"), "OUT": str(tmp_path / "out")}
    return {**os.environ, **paths, **job}


@pytest.mark.parametrize(("status", "again"), [(0, False), (1, False), (130, False), (138, True)])
def test_only_a_saved_training_is_queued_again(
    status: int, again: bool, slurm: dict[str, str], tmp_path: Path
) -> None:
    write_program(tmp_path / "fairseq-train", f'echo "$@"; exit {status}')
    done = subprocess.run([SCRIPT, "--lr", "1"], env=slurm, capture_output=True, text=True)
    assert (tmp_path / "asked").exists() == again
    assert done.returncode == (0 if again else status)
    assert done.stdout.endswith(" --lr 1\n") and "--task memtx_translation" in done.stdout


def test_a_job_without_data_is_refused(slurm: dict[str, str]) -> None:
    del slurm["DATA"]
    done = subprocess.run([SCRIPT], env=slurm, capture_output=True, text=True)
    assert done.returncode != 0
    assert "DATA: is not set: the folder of the binarised data" in done.stderr


@pytest.mark.slow
def test_a_job_whose_time_is_over_goes_on(slurm: dict[str, str], tmp_path: Path) -> None:
    make_data(tmp_path / "data")
    flags, last = [*TINY.split(), "--disable-validation"], tmp_path / "out" / "checkpoint_last.pt"
    command = [SCRIPT, *flags, "--max-update", "100000", "--save-interval-updates", "1"]
    with subprocess.Popen(command, env=slurm) as job:
        while not last.exists():
            assert job.poll() is None
            time.sleep(0.1)
        os.kill(int((tmp_path / "task").read_text()), signal.SIGUSR1)
    assert job.returncode == 0
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    made = updates_in(last)

    (tmp_path / "asked").unlink()
    subprocess.run([SCRIPT, *flags, "--max-update", str(made + 2)], env=slurm, check=True)
    assert updates_in(last) == made + 2
    assert not (tmp_path / "asked").exists()
