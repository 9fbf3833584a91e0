"""The speed measurement on tiny models: what it counts, and that its numbers can be trusted."""

import hashlib
import json
from pathlib import Path

import pytest

from fairseq_memtx.ground import shell
from scripts.experiment import commands
from scripts.experiment.configs import Decoding
from scripts.shared import measure
from tests.checkpoints import TINY

DECODING = Decoding(beam=2, max_len_b=8, speed_batches=(1, 4), batch_size=4)
LINES = {1: 2, 4: 10}


@pytest.fixture(scope="module")
def measured(prepared_sample: Path, tiny_checkpoints, tmp_path_factory) -> dict:
    """Both tiny models, measured by the command that the experiment would run."""
    import dataclasses

    out = tmp_path_factory.mktemp("measured") / "speed.json"
    decoding = dataclasses.replace(
        DECODING, speed_lines_single=LINES[1], speed_lines_batched=LINES[4], repeats=3
    )
    experiment = dataclasses.replace(TINY, decoding=decoding)
    line = commands.measure_command(experiment, prepared_sample / "bin", tiny_checkpoints, out, 1)
    assert measure.main(line[3:]) == 0
    return json.loads(out.read_bytes())


@pytest.mark.slow
def test_every_system_is_measured_at_every_batch_size(measured) -> None:
    assert sorted(measured) == ["feedback", "transformer"]
    for found in measured.values():
        assert [speed["batch"] for speed in found["speed"]] == [1, 4]
        for speed in found["speed"]:
            assert speed["lines"] == LINES[speed["batch"]]
            assert len(speed["seconds"]) == 3
            assert min(speed["seconds"]) > 0
            assert speed["identical_output"]
            assert speed["tokens"] >= speed["lines"]  # each ends with the end of sentence
        assert found["precision"] == "float32"
        assert found["device"] == "cpu"


@pytest.mark.slow
def test_state_is_what_the_decoders_must_keep(measured) -> None:
    """Keys and values of 16 float32 numbers: in each of two layers, or once for all of them."""
    keys_and_values = 2 * TINY.model.embed_dim * 4
    state = {name: found["state"] for name, found in measured.items()}
    assert state["transformer"]["bytes_per_token"] == 2 * keys_and_values
    # one memory for all layers, and a byte that says whether the position is padding
    assert state["feedback"]["bytes_per_token"] == keys_and_values + 1
    for found in state.values():
        assert found["bytes_per_source_token"] >= 2 * keys_and_values


def test_batches_have_the_size_that_is_told(prepared_sample: Path) -> None:
    """fairseq would cut those of 9 to 8."""
    flags = ["--user-dir", str(shell.USER_DIR), "--task", shell.TASK, "--cpu"]
    task = measure.Loader(prepared_sample / "bin", flags).task
    system = measure.System("a", None, None, task, None)
    sizes = [len(batch["id"]) for batch in measure.make_batches(system, 9, 14)]
    assert sizes == [9, 5]


def test_output_that_differs_is_noticed() -> None:
    timing = measure.Timing(batch=1, lines=1, seconds=[1.0, 1.0], words=5)
    timing.hashes = [measure.hash_of_lines(["a"]), measure.hash_of_lines(["b"])]
    assert not timing.asdict()["identical_output"]
    timing.hashes = timing.hashes[:1] * 2
    assert timing.asdict()["identical_output"]


def test_hash_is_that_of_the_text_file() -> None:
    assert measure.hash_of_lines(["a", "ä"]) == hashlib.sha256("a\nä\n".encode()).hexdigest()


def test_missing_checkpoint_is_refused_before_loading(tmp_path, capsys) -> None:
    argv = ["--data-bin", str(tmp_path), "--out", str(tmp_path / "o"), "--system", "a=none.pt"]
    assert measure.main(argv) == 1
    assert "of `a`: check the path" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_two_systems_of_one_name_are_refused(tmp_path, capsys) -> None:
    for name in ("a.pt", "test.en-de.en.idx"):
        (tmp_path / name).touch()
    system = ["--system", f"a={tmp_path / 'a.pt'}"]
    argv = ["--data-bin", str(tmp_path), "--out", str(tmp_path / "o"), *system, *system]
    assert measure.main(argv) == 1
    assert "has the same name twice" in capsys.readouterr().err


def test_data_without_a_test_set_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "a.pt").touch()
    system = ["--system", f"a={tmp_path / 'a.pt'}"]
    argv = ["--data-bin", str(tmp_path), "--out", str(tmp_path / "o"), *system]
    assert measure.main(argv) == 1
    assert "holds no binarised test set" in capsys.readouterr().err
