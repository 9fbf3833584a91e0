"""A decoder registered in one file is in experiments, plots and commands, without another place."""

import argparse
from pathlib import Path

import pytest
from fairseq import options

from fairseq_memtx.commands import decoders as command
from fairseq_memtx.ground.errors import UserError
from scripts.bench_decoding import systems, untrained
from scripts.experiment import commands
from scripts.experiment.configs import EXPERIMENTS
from scripts.experiment.run import parse_args, resolve
from scripts.experiment.stages.train import Run, longest_first
from scripts.shared import plots
from tests.fairseq_memtx import toy_decoder  # the one file
from tests.fairseq_memtx.tiny import build_model
from tests.scripts.made_up import record


def test_the_command_lists_it_and_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0 and command.main(["toy"]) == 0
    told = capsys.readouterr().out
    assert "toy: a decaying average, for tests" in told
    assert "--arch memtx_toy, as a language model memtx_toy_lm" in told
    assert "--memtx-toy-decay\n    share of the past in a position's average (default: 0.5)" in told


def test_an_experiment_trains_it_with_its_own_flags(tmp_path: Path) -> None:
    args = parse_args(["demo", "--decoders", "toy,feedback"])
    experiment = resolve(args)
    assert experiment.decoders == ("toy", "feedback")
    line = commands.train_command(experiment, tmp_path, tmp_path, Run("toy", 2, 1))
    parsed = options.parse_args_and_arch(options.get_training_parser(), input_args=line[1:])
    assert (parsed.arch, parsed.memtx_toy_decay) == ("memtx_toy", 0.75)
    assert parsed.criterion == "label_smoothed_cross_entropy"
    runs = [Run("toy", 1, 1), Run("feedback", 1, 1)]
    assert [run.decoder for run in longest_first(runs)] == ["feedback", "toy"]


def test_a_decoder_that_is_registered_nowhere_is_refused() -> None:
    with pytest.raises(UserError, match=r"has `parrot`: choose among .*toy"):
        resolve(parse_args(["demo", "--decoders", "parrot"]))


def test_a_plot_shows_it() -> None:
    figure = plots.bleu_against_speed([record("feedback"), record("toy", bleu=31.0)])
    shown = {label for panel in figure.axes for label in panel.get_legend_handles_labels()[1]}
    for legend in figure.legends:
        shown |= {text.get_text() for text in legend.get_texts()}
    assert {"feedback", "toy"} <= shown


def test_benchmarks_of_decoding_know_it() -> None:
    assert untrained.decoders("toy,transformer") == ("toy", "transformer")
    with pytest.raises(argparse.ArgumentTypeError):
        untrained.decoders("parrot")
    assert systems.name_of(build_model("memtx_toy").decoder) == "toy"
    assert isinstance(build_model("memtx_toy").decoder, toy_decoder.ToyDecoder)
    assert EXPERIMENTS["demo"].decoders == ("transformer", "feedback")
