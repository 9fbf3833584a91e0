"""Trainings in bfloat16 beside float32: what is trained, and the page made from the records."""

from pathlib import Path

import pytest

from fairseq_memtx.ground.files import write_bytes
from scripts.experiment.configs import EXPERIMENTS
from scripts.shared.benchmark import add_record
from scripts.studies import precision

MADE = {
    "schema": 1, "model": {"encoder_layers": 3, "embed_dim": 128}, "versions": {"torch": "2.0"},
    "hardware": {"cpu": "a processor"}, "commit": "0123456789abcdef", "dirty": False,
}  # fmt: skip


def record(decoder: str, math: str, seed: int, end: float) -> dict:
    points = [[100, end + 1, 5.0], [200, end, 10.0 + seed]]
    return {**MADE, "decoder": decoder, "math": math, "seed": seed, "points": points}


RECORDS = [
    record("transformer", "float32", 1, 4.0), record("transformer", "bfloat16", 1, 4.1),
    record("transformer", "float32", 2, 4.5), record("transformer", "bfloat16", 2, 4.4),
    record("feedback", "float32", 1, 3.0), record("feedback", "bfloat16", 1, 3.0),
]  # fmt: skip


def test_differences_are_those_of_equal_seeds() -> None:
    page = precision.table(RECORDS)
    assert "| transformer | float32 | 2 | 4.250 (4.000-4.500) | 0.000 (0.000-0.000) | " in page
    assert "| transformer | bfloat16 | 2 | 4.250 (4.100-4.400) | 0.000 (-0.100-0.100) | 12 " in page
    assert "| feedback | bfloat16 | 1 | 3.000 (3.000-3.000) | 0.000 (0.000-0.000) | " in page
    assert "after 200 updates, 3 encoder layers, one decoder layer, 128 dimensions" in page


def test_pairs_differ_in_their_products_alone(tmp_path: Path) -> None:
    args = precision.parse_args(["--seeds", "1,2", "--max-epoch", "3"])
    made = list(precision.trainings(args, EXPERIMENTS[precision.BASE], tmp_path))
    assert len({training.folder.path for training in made}) == len(made) == 8
    for plain, fast in zip(made[::2], made[1::2], strict=True):
        words = zip(plain.command, fast.command, strict=True)
        differ = {pair for pair in words if pair[0] != pair[1]}
        folders = (str(plain.folder.checkpoints), str(fast.folder.checkpoints))
        assert differ == {("float32", "bfloat16"), folders}


def test_page_and_plot_are_made_from_the_records_alone(tmp_path: Path) -> None:
    for one in RECORDS:
        add_record(tmp_path / "precision.jsonl", one, "decoder", "math", "seed")
    assert precision.main(["--out", str(tmp_path), "--table-only"]) == 0
    assert (tmp_path / "precision.md").read_text("utf-8") == precision.table(RECORDS)
    assert (tmp_path / "precision.png").stat().st_size > 1000


def test_a_record_without_points_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bytes(tmp_path / "precision.jsonl", b'{"decoder": "feedback"}\n')
    assert precision.main(["--out", str(tmp_path), "--table-only"]) != 0
    assert "precision.jsonl` are damaged" in capsys.readouterr().err
