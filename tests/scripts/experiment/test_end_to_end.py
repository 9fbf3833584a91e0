"""The whole experiment on the small sample, with fairseq's own training and generation."""

import dataclasses
import json
from pathlib import Path

import pytest

from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground.errors import UserError
from scripts.experiment import records
from scripts.experiment.configs import Decoding
from scripts.experiment.run import Options, run_experiment
from scripts.shared.measure import hash_of_lines
from tests.checkpoints import TINY

DECODING = Decoding(
    beam=2,
    batch_size=16,
    max_len_b=5,
    speed_batches=(1, 16),
    speed_lines_single=2,
    speed_lines_batched=10_000,
    repeats=2,
)


@pytest.mark.slow
def test_from_prepared_data_to_the_table(prepared_sample: Path, tmp_path: Path, capsys) -> None:
    """Train, average, translate, measure, report; then again, when there is nothing to do."""
    experiment = dataclasses.replace(TINY, decoding=DECODING, depths=(1,), average_last=2)
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(prepared_sample)
    stages = ("train", "average", "generate", "measure", "report")
    options = Options(runs_dir=tmp_path / "runs", stages=stages, jobs=2, command="test")
    run_experiment(experiment, options)
    shown = capsys.readouterr().out
    assert "| transformer | 1 |" in shown
    assert "feedback-d1-s1" in shown
    check_records(folder, prepared_sample)
    logs = {path: path.read_bytes() for path in folder.glob("*/*.log")}
    run_experiment(experiment, options)
    assert {path: path.read_bytes() for path in folder.glob("*/*.log")} == logs
    with pytest.raises(UserError, match=r"must be at least 99\.0 above copying the source"):
        run_experiment(dataclasses.replace(experiment, min_gain=99.0), options)


def check_records(folder: Path, data: Path) -> None:
    """Records hold what was run, and the measured translations are those that were scored."""
    references = read_lines(data / "refs" / "test.de")
    found = records.read_all(folder / "results" / "records")
    assert [record["decoder"] for record in found] == ["feedback", "transformer"]
    for record in found:
        run = folder / f"{record['decoder']}-d1-s1"
        hypotheses = read_lines(run / "hypotheses.txt")
        assert len(hypotheses) == len(references) == record["scores"]["lines"]
        assert record["training"]["updates"] == 6
        assert record["training"]["seconds"] > 0
        assert record["search"]["peak_memory_bytes"] > 2**26
        assert record["speed"][1]["output_sha256"] == hash_of_lines(hypotheses)
        assert str(folder.parent) not in json.dumps(record)
