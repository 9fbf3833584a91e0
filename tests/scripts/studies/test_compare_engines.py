"""The command that tells rounding from a real difference between engines."""

import json
from pathlib import Path

import pytest

from fairseq_memtx.engine.stack_run import StackRun
from scripts.shared.benchmark import read_records
from scripts.studies import compare_engines
from scripts.studies.compare_engines import PAIRS, Sizes, order

SMALL = ["--layers", "1", "--dim", "64", "--max-tokens", "200"]


def differences(out: Path, *argv: str) -> list[list[float]]:
    """Of each pair of trainings at each validation, how far their losses are from each other."""
    assert compare_engines.main([*SMALL, *argv, "--out", str(out)]) == 0
    (record,) = read_records(out / "rounding.jsonl")
    pairs = [(record["bits"][a.name], record["bits"][b.name]) for a, b in PAIRS]
    return [[abs(x - y) for x, y in zip(*pair, strict=True)] for pair in pairs]


@pytest.mark.slow
def test_in_float64_the_engines_find_the_same_losses(prepared_sample: Path, tmp_path) -> None:
    argv = ["--data-bin", str(prepared_sample / "bin"), "--updates", "12", "--every", "4"]
    exact, engines, moved = differences(tmp_path, *argv)
    assert len(exact) == len(engines) == len(moved) == 4
    assert max(exact) < 1e-11
    # On some processors the engines' products are the same to the last bit in float32 too.
    assert max(engines) < 1e-3 and 1e-9 < max(moved) < 1e-3
    (record,) = read_records(tmp_path / "rounding.jsonl")
    for losses in record["bits"].values():
        assert losses[-1] < losses[0] - 0.1  # something is learned
    page = (tmp_path / "rounding.md").read_text()
    assert page.count("\n| 12 |") == 1 and "1 decoder layer(s), dimension 64" in page


@pytest.mark.slow
def test_hundreds_of_updates_are_the_same_in_float64(prepared_sample: Path, tmp_path) -> None:
    argv = ["--data-bin", str(prepared_sample / "bin"), "--updates", "400", "--every", "100"]
    exact, engines, _ = differences(tmp_path, *argv)
    assert max(exact) < 1e-6 * max(engines)


@pytest.mark.slow
def test_a_wrong_gradient_shows_in_float64(prepared_sample: Path, tmp_path, monkeypatch) -> None:
    """Negative control: a thousandth of one row too much in another; Adam hides a mere factor."""
    backward = StackRun.backward

    def wrong(self, *args):
        found = backward(self, *args)
        grad = found["memory.v_proj.0.weight"]
        grad[0] += 1e-3 * grad[1]
        return found

    monkeypatch.setattr(StackRun, "backward", wrong)
    argv = ["--data-bin", str(prepared_sample / "bin"), "--updates", "4", "--every", "4"]
    exact, _, _ = differences(tmp_path, *argv)
    assert exact[0] < 1e-11 < exact[1]


def test_an_epoch_has_every_batch_once() -> None:
    sizes = Sizes(layers=1, dim=64, max_tokens=9, updates=12, every=1, seed=3)
    numbers = list(order(5, sizes))
    assert len(numbers) == 12
    assert sorted(numbers[:5]) == sorted(numbers[5:10]) == list(range(5))
    assert numbers == list(order(5, sizes)) and numbers[:5] != numbers[5:10]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give `--data-bin`"),
        (["--data-bin", "none"], "`--data-bin none` is not a folder"),
        (["--data-bin", "."], "`--data-bin` holds no binarised data"),
        (["--table-only"], "there are no records"),
    ],
)
def test_user_errors_are_one_line(argv, message, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert compare_engines.main([*argv, "--out", str(tmp_path)]) == 1
    lines = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


def test_the_page_is_the_same_for_the_same_records(tmp_path) -> None:
    bits = {
        training.name: [9.0, 8.0 + 1e-9 * n] for n, training in enumerate(compare_engines.TRAININGS)
    }
    record = {
        "sizes": vars(Sizes(2, 128, 300, 50, 50, 1)), "bits": bits, "threads": 1, "dirty": False,
        "data": {"vocab": 6000, "batches": {"train": 9, "valid": 4}}, "commit": "0123456789abcdef",
        "versions": {"torch": "2.13.0"}, "hardware": {"cpu": "a processor"},
    }  # fmt: skip
    (tmp_path / "rounding.jsonl").write_text(json.dumps(record) + "\n")
    pages = []
    for _ in range(2):
        assert compare_engines.main(["--table-only", "--out", str(tmp_path)]) == 0
        pages.append((tmp_path / "rounding.md").read_text())
    assert pages[0] == pages[1]
    assert "| 50 | 8.000000 | -1.0e-09 | 8.000000 | -1.0e-09 | +1.0e-09 |" in pages[0]
