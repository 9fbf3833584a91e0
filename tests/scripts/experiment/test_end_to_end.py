"""The whole experiment on the small sample, with fairseq's own training and generation."""

import dataclasses
import json
from pathlib import Path

import pytest

from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground.errors import UserError
from scripts.experiment.configs import Decoding, LearningSearch
from scripts.experiment.run import Options, run_experiment
from scripts.experiment.stages import records
from scripts.shared.measure import hash_of_lines
from tests.checkpoints import TINY

DECODING = Decoding(
    beam=2,
    other_beams=(1,),
    batch_size=8,  # as fairseq rounds it: the longest source of a batch limits its outputs
    max_len_b=5,
    speed_batches=(1, 8),
    speed_lines_single=2,
    speed_lines_batched=10_000,
    repeats=2,
)


@pytest.mark.slow
def test_from_prepared_data_to_the_table(prepared_sample: Path, tmp_path: Path, capsys) -> None:
    """Train, average, translate, measure, report; then again, when there is nothing to do."""
    search = LearningSearch(lrs=(1e-3, 2e-3), warmups=(4,), updates=2)
    experiment = dataclasses.replace(
        TINY,
        search=search,
        decoding=DECODING,
        depths=(1,),
        recipes=("curriculum",),
        average_last=2,
    )
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(prepared_sample)
    stages = ("search", "train", "average", "generate", "measure", "report")
    options = Options(runs_dir=tmp_path / "runs", stages=stages, jobs=2, command="test")
    run_experiment(experiment, options)
    shown = capsys.readouterr().out
    assert "| transformer | 1 | 16 | curriculum | 1 |" in shown
    assert "feedback-d1-curriculum-s1" in shown
    check_records(folder, prepared_sample)
    logs = {path: path.read_bytes() for path in folder.glob("**/*.log")}
    run_experiment(experiment, options)
    assert {path: path.read_bytes() for path in folder.glob("**/*.log")} == logs
    with pytest.raises(UserError, match=r"has to be at least 99\.0 above copying the source"):
        run_experiment(dataclasses.replace(experiment, min_gain=99.0), options)


def check_records(folder: Path, data: Path) -> None:
    """Records hold what was run, and the measured translations are those that were scored."""
    references = read_lines(data / "refs" / "test.de")
    found = records.read_all(folder / "results" / "records")
    assert [record["decoder"] for record in found] == ["feedback", "transformer"]
    for record in found:
        training = record["training"]
        assert (training["updates"], len(training["starts"])) == (6, 1)
        assert training["seconds"] > 0 and training["processor_seconds"] > 0
        assert training["peak_memory_bytes"] > 2**26
        assert record["learning"]["lr"] in (1e-3, 2e-3)
        assert len(record["learning"]["search"]["tried"]) == 2
        assert [one["beam"] for one in record["decoding"]] == [2, 1]
        for one in record["decoding"]:
            path = folder / f"{record['decoder']}-d1-curriculum-s1"
            hypotheses = read_lines(path / f"hypotheses-beam{one['beam']}.txt")
            assert len(hypotheses) == len(references) == one["scores"]["lines"]
            assert one["peak_memory_bytes"] > 2**26
            assert one["speed"][1]["output_sha256"] == hash_of_lines(hypotheses)
            assert (one["difference"] is None) == (record["decoder"] == "transformer")
        assert str(folder.parent) not in json.dumps(record)
    course = json.loads((folder / "results" / "course.json").read_bytes())
    assert sum(sum(part["pairs"].values()) for part in course["parts"]) == 393
