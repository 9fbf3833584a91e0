"""Reading, printing and plotting the mixtures of logs and checkpoints."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from fairseq_memtx.commands import mixture


def write_log(path: Path, rows: list[tuple[int, list[float]]], ends: list[int] = ()) -> Path:
    """A training's log with a mixture at some updates, and the ends of epochs."""
    lines = ["2026-01-01 10:00:00 | INFO | fairseq_cli.train | task: TranslationTask"]
    for updates, weights in rows:
        kind, prefix = ("train", "train_") if updates in ends else ("train_inner", "")
        values = {f"{prefix}num_updates": str(updates), f"{prefix}loss": "3.1"}
        values |= {f"{prefix}mixture_{n}": str(weight) for n, weight in enumerate(weights)}
        lines.append(f"2026-01-01 10:00:00 | INFO | {kind} | {json.dumps(values)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_checkpoint(path: Path, probs: list[float] | None, updates: int = 7) -> Path:
    weight = {} if probs is None else {mixture._PARAMETER: torch.tensor(probs).log() + 2.0}
    history = [{"num_updates": updates}]
    state = {"args": Namespace(), "model": weight, "optimizer_history": history}
    torch.save(state, path)
    return path


ROWS = [(100, [0.5, 0.5]), (200, [0.25, 0.75]), (300, [0.125, 0.875])]


def write_channels(path: Path) -> Path:
    """A log of two channels with two states."""
    names = ["mixture_0_0", "mixture_0_1", "mixture_1_0", "mixture_1_1"]
    lines = [
        json.dumps(
            {"num_updates": str(updates), **dict(zip(names, map(str, weights), strict=True))}
        )
        for updates, weights in [(100, [0.5, 0.5, 0.4, 0.6]), (200, [0.75, 0.25, 0.2, 0.8])]
    ]
    start = "2026-01-01 10:00:00 | INFO | train_inner | "
    path.write_text("".join(f"{start}{line}\n" for line in lines), encoding="utf-8")
    return path


def test_channels_are_told_one_by_one(tmp_path, capsys, caplog) -> None:
    log, saved = write_channels(tmp_path / "train.log"), tmp_path / "c.pt"
    weight = torch.tensor([[0.1, 0.9], [0.3, 0.7]]).log()
    model = {mixture._PARAMETER: weight, mixture._ROUTER: torch.zeros(4, 6)}
    history = [{"num_updates": 7}]
    torch.save({"args": Namespace(), "model": model, "optimizer_history": history}, saved)
    assert mixture.main([str(log), str(saved), "--out", str(tmp_path / "plot")]) == 0
    output = capsys.readouterr().out
    assert [line.split()[1:] for line in output.rstrip("\n").split("\n")[1:]] == [
        ["(channel", "0)", "200", "0.7500", "0.2500"],
        ["(channel", "1)", "200", "0.2000", "0.8000"],
        ["(channel", "0)", "7", "0.1000", "0.9000"],
        ["(channel", "1)", "7", "0.3000", "0.7000"],
    ]
    assert "differ from token to token" in caplog.text
    panels = mixture.curves(mixture.read(log)).axes
    assert [panel.get_title() for panel in panels] == [f"{log} (channel {n})" for n in (0, 1)]
    assert list(panels[1].lines[0].get_ydata()) == [0.4, 0.2]


def test_a_log_has_the_mixtures_of_all_updates(tmp_path: Path) -> None:
    (found,) = mixture.read(write_log(tmp_path / "train.log", ROWS, ends=[200]))
    assert found.is_log
    assert found.updates == [100, 200, 300]
    assert found.weights == [weights for _, weights in ROWS]


def test_what_a_resumed_training_repeats_counts_once(tmp_path: Path) -> None:
    again = [*ROWS, (200, [0.3, 0.7]), (300, [0.2, 0.8])]
    (found,) = mixture.read(write_log(tmp_path / "train.log", again))
    assert found.updates == [100, 200, 300]
    assert found.weights == [[0.5, 0.5], [0.3, 0.7], [0.2, 0.8]]


def test_a_checkpoint_has_one_mixture(tmp_path: Path) -> None:
    (found,) = mixture.read(write_checkpoint(tmp_path / "checkpoint_best.pt", [0.1, 0.2, 0.7]))
    assert not found.is_log and found.updates == [7]
    assert found.weights[0] == pytest.approx([0.1, 0.2, 0.7])
    assert math.isclose(sum(found.weights[0]), 1.0)


def test_the_table_has_a_line_for_each_file(tmp_path, capsys) -> None:
    log = write_log(tmp_path / "train.log", ROWS)
    saved = write_checkpoint(tmp_path / "checkpoint_best.pt", [0.1, 0.2, 0.7], updates=12_345)
    assert mixture.main([str(log), str(saved)]) == 0
    header, *lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert header.split() == ["file", "updates", "embedding", "layer", "1", "layer", "2"]
    assert [line.split() for line in lines] == [
        [str(log), "300", "0.1250", "0.8750"],
        [str(saved), "12,345", "0.1000", "0.2000", "0.7000"],
    ]


def test_the_curves_are_those_of_the_log(tmp_path: Path) -> None:
    figure = mixture.curves(mixture.read(write_log(tmp_path / "train.log", ROWS)))
    (panel,) = figure.axes
    assert [line.get_label() for line in panel.lines] == ["embedding", "layer 1"]
    for number, line in enumerate(panel.lines):
        assert list(line.get_xdata()) == [100, 200, 300]
        assert list(line.get_ydata()) == [weights[number] for _, weights in ROWS]


def test_a_plot_is_the_same_every_time(tmp_path: Path) -> None:
    log = write_log(tmp_path / "train.log", ROWS)
    for name in ("one", "two"):
        assert mixture.main([str(log), "--out", str(tmp_path / name)]) == 0
    for kind in ("png", "svg"):
        one, two = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("one", "two"))
        assert one == two and len(one) > 1000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "there is no file"),
        (lambda path: write_log(path, [(1, [])]), "names no mixture"),
        (lambda path: write_checkpoint(path, None), "has no learned mixture"),
        (lambda path: path.write_bytes(b"PK\x03\x04 half a file"), "it is cut short"),
    ],
)
def test_user_errors_are_one_line(make, message, tmp_path, capsys) -> None:
    make(tmp_path / "file")
    assert mixture.main([str(tmp_path / "file")]) == 1
    (line,) = [x for x in capsys.readouterr().err.split("\n") if x.startswith("error:")]
    assert message in line and "`" in line


def test_a_plot_wants_a_log(tmp_path, capsys) -> None:
    saved = write_checkpoint(tmp_path / "c.pt", [0.5, 0.5])
    assert mixture.main([str(saved), "--out", str(tmp_path / "plot")]) == 1
    assert "there are only checkpoints" in capsys.readouterr().err
    assert list(tmp_path.glob("plot*")) == []
