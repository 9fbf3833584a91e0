"""The comparison of the remedies: which trainings it starts, and a tiny run."""

import json
from pathlib import Path

import pytest

from fairseq_memtx.ground import shell
from fairseq_memtx.ground.errors import UserError
from scripts.studies import remedies


def resolve(tmp_path: Path, *flags: str) -> remedies.Comparison:
    argv = ["sample", "--runs-dir", str(tmp_path), "--max-update", "40", *flags]
    return remedies.resolve(remedies.parse_args(argv))


def lines(comparison: remedies.Comparison, warm: bool) -> dict[str, str]:
    return {
        f"{route.name}-{training.run.seed}": shell.shell_line(training.command)
        for route, training in comparison.all(warm)
    }


def test_every_route_is_trained_with_every_seed(tmp_path: Path) -> None:
    comparison = resolve(tmp_path, "--seeds", "1,2")
    first, then = lines(comparison, warm=False), lines(comparison, warm=True)
    assert set(first) == {f"{n}-{s}" for n in ("parallel", "scratch", "curriculum") for s in (1, 2)}
    assert set(then) == {"warm-1", "warm-2", "both-1", "both-2"}
    assert "--arch transformer" in first["parallel-1"] and "--max-update 20" in first["parallel-1"]
    for line in (*first.values(), *then.values()):
        assert "--task memtx_translation" in line
    assert "--memtx-length-schedule competence" in then["both-2"]
    scratch = first["scratch-1"].replace("--memtx-cpu-math float32", "")  # which all have
    assert "--memtx-init-from" in then["both-2"] and "--memtx" not in scratch


def test_a_warm_start_begins_from_the_same_seed(tmp_path: Path) -> None:
    comparison = resolve(tmp_path)
    folders = {
        f"{route.name}-{training.run.seed}": training.folder.path
        for warm in (False, True)
        for route, training in comparison.all(warm)
    }
    for _, training in comparison.all(warm=True):
        command = training.command
        source = Path(command[command.index("--memtx-init-from") + 1])
        assert source.is_relative_to(folders[f"parallel-{training.run.seed}"])
    assert len(set(folders.values())) == 15


@pytest.mark.parametrize(
    "routes, says",
    [("scratch,sideways", "`sideways`: choose among"), ("warm", "lacks `parallel`")],
)
def test_routes_that_make_no_sense_are_refused(routes: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        resolve(tmp_path, "--routes", routes)


@pytest.mark.slow
def test_a_comparison_of_a_few_updates(tmp_path: Path) -> None:
    argv = ["sample", "--runs-dir", str(tmp_path / "runs"), "--results-dir", str(tmp_path / "out")]
    argv += [
        "--max-update",
        "4",
        "--validate-every",
        "2",
        "--log-every",
        "1",
        "--seeds",
        "1",
        "--depth",
        "1",
    ]
    args = remedies.parse_args(argv)
    remedies.compare(args)
    records = sorted((tmp_path / "out" / "remedies-sample" / "records").iterdir())
    assert [path.name for path in records] == [
        f"{name}-d1-s1.json" for name in ("both", "curriculum", "parallel", "scratch", "warm")
    ]
    for path in records:
        run = json.loads(path.read_bytes())
        assert len(run["processor_seconds"]) == len(run["points"])
        assert (run["processor_seconds_before"] > 0) == (run["route"] in ("warm", "both"))
        assert run["pace"][-1]["updates"] == run["points"][-1][0]
        last = run["processor_seconds"][-1]
        assert 0 < sum(line["seconds"] for line in run["pace"]) < last
    remedies.compare(args)  # what is done is not done again
