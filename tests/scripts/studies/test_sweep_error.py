"""The command that tells the parallel engine's error: what it measures, its records and table."""

import json
from pathlib import Path

import pytest
import torch

from scripts.shared.benchmark import read_records
from scripts.studies import sweep_error

TINY = ["--layers", "2", "--dim", "64", "--batch", "2", "--length", "6", "--rounds", "2"]
CHOSEN = ["--sweeps", "1,3,6", "--blocks", "0,2,1", "--grads", "0,1", "--groups", "1,2"]


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    """A tiny random decoder, measured by the command."""
    out = tmp_path_factory.mktemp("sweeps")
    assert sweep_error.main([*TINY, *CHOSEN, "--out", str(out)]) == 0
    assert "Random weights, 2 layers, dimension 64, B x T 2 x 6" in (out / "table.md").read_text()
    (found,) = read_records(out / "records.jsonl")
    return found


def errors(record: dict, block: int, sweeps: int, grads: int = 0, groups: int = 1) -> dict:
    """Of one setting."""
    wanted = {"sweep_block": block, "sweeps": sweeps, "sweep_grads": grads, "sweep_groups": groups}
    (one,) = (x for x in record["settings"] if all(x[k] == v for k, v in wanted.items()))
    return one["errors"]


def test_only_settings_that_differ_are_measured(record) -> None:
    names = ("sweep_block", "sweep_groups", "sweeps", "sweep_grads")
    found = [tuple(x[name] for name in names) for x in record["settings"]]
    whole = [(0, 1, 1, 0), (0, 1, 3, 0), (0, 1, 6, 0), (0, 1, 3, 1), (0, 1, 6, 1)]
    whole += [(0, 2, 1, 0), (0, 2, 3, 0), (0, 2, 3, 1)]
    assert found == [*whole, (2, 1, 1, 0), (2, 2, 1, 0), (1, 1, 1, 0)]
    for one in (record["exact"], *record["settings"]):
        assert len(one["seconds"]) == 2 and min(one["seconds"]) > 0


def test_a_block_longer_than_the_target_is_the_whole_target() -> None:
    found = sweep_error.settings([1], [8, 7], [0], [1], length=8)
    assert [x["sweep_block"] for x in found] == [0, 7]


def test_errors_fall_with_the_sweeps_and_end(record) -> None:
    few, more, all_of_them = (errors(record, 0, sweeps) for sweeps in (1, 3, 6))
    for name in ("state_mean", "state_max", "gradient"):
        assert few[name] > 2 * more[name] > 1e-4, name
        assert all_of_them[name] < 1e-5, name
    assert abs(few["bits"]) > abs(more["bits"]) > 0
    assert abs(all_of_them["bits"]) < 1e-5
    assert few["cosine"] < more["cosine"] < all_of_them["cosine"] == pytest.approx(1.0)


@pytest.mark.parametrize("block, sweeps, groups", [(1, 1, 1), (2, 1, 2), (0, 3, 2)])
def test_what_has_settled_all_positions_is_exact(record, block, sweeps, groups) -> None:
    found = errors(record, block, sweeps, groups=groups)
    assert found["state_max"] < 1e-5 and found["gradient"] < 1e-5


def test_a_truncated_gradient_is_wrong_although_the_states_are_right(record) -> None:
    found = errors(record, 0, 6, grads=1)
    assert found["state_max"] < 1e-5
    assert found["gradient"] > 1e-3


@pytest.mark.slow
def test_a_trained_model_is_measured_on_its_own_data(
    prepared_sample: Path, tiny_checkpoints, tmp_path
) -> None:
    argv = ["--checkpoint", str(tiny_checkpoints["feedback"])]
    argv += ["--data-bin", str(prepared_sample / "bin"), "--max-tokens", "60", "--batches", "2"]
    chosen = ["--sweeps", "1,2", "--blocks", "0,2", "--grads", "0", "--rounds", "1"]
    chosen += ["--groups", "1"]
    assert sweep_error.main([*argv, *chosen, "--out", str(tmp_path)]) == 0
    (found,) = read_records(tmp_path / "records.jsonl")
    assert found["subject"]["layers"] == 2 and len(found["subject"]["shapes"]) == 2
    assert errors(found, 2, 2)["state_max"] < 1e-5
    assert errors(found, 0, 1)["state_max"] > 1e-3
    # its loss is that of a model without dropout, in bits for each token that is no padding
    vocabulary = len((prepared_sample / "bin" / "dict.de.txt").read_text().split("\n")) + 3
    assert 0 < found["exact"]["bits"] < 2 * torch.tensor(float(vocabulary)).log2()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--checkpoint", "a.pt"], "give both `--checkpoint` and `--data-bin`"),
        (["--checkpoint", "a.pt", "--data-bin", "d"], "there is no checkpoint `a.pt`"),
        (["--table-only"], "there are no records"),
    ],
)
def test_user_errors_are_one_line(argv, message, tmp_path, capsys) -> None:
    assert sweep_error.main([*argv, "--out", str(tmp_path)]) == 1
    lines = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


def test_another_model_or_missing_data_end_in_one_line(
    prepared_sample: Path, tiny_checkpoints, tmp_path, capsys
) -> None:
    data = str(prepared_sample / "bin")
    cases = [
        ("transformer", data, "valid", "is not a checkpoint of a Feedback translation model"),
        ("feedback", data, "none", "has no split `none`"),
        ("feedback", str(tmp_path / "none"), "valid", "is not a folder"),
        ("feedback", data, "valid", "it has to be at least a sentence's length"),
    ]
    for decoder, folder, subset, message in cases:
        argv = ["--checkpoint", str(tiny_checkpoints[decoder]), "--data-bin", folder]
        argv += ["--subset", subset, "--max-tokens", "1", "--out", str(tmp_path)]
        assert sweep_error.main(argv) == 1
        lines = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error: ")]
        assert len(lines) == 1 and message in lines[0]


def test_the_table_is_the_same_for_the_same_records(record, tmp_path) -> None:
    (tmp_path / "records.jsonl").write_text(json.dumps(record) + "\n")
    pages = []
    for _ in range(2):
        assert sweep_error.main(["--table-only", "--out", str(tmp_path)]) == 0
        pages.append((tmp_path / "table.md").read_bytes())
    assert pages[0] == pages[1]
    assert pages[0].count(b"\n| all |") == 8
