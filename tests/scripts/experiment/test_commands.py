"""The command lines behind an experiment: fairseq knows every flag, and no folder leaks."""

from dataclasses import replace
from pathlib import Path

import pytest

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import shell
from scripts.experiment import commands
from scripts.experiment.configs import EXPERIMENTS
from scripts.experiment.folders import Run


@pytest.fixture(scope="module", autouse=True)
def user_dir() -> None:
    import fairseq_memtx.plugin  # noqa: F401  (registers the decoders)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_fairseq_parses_the_training(name: str, decoder: str, tmp_path: Path) -> None:
    from fairseq import options

    line = commands.train_command(EXPERIMENTS[name], tmp_path, tmp_path, Run(decoder, 3, 5))
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=line[1:])
    experiment = EXPERIMENTS[name]
    assert args.arch == DECODERS[decoder].architecture
    assert (args.decoder_layers, args.seed) == (3, 5)
    assert args.encoder_layers == experiment.model.encoder_layers
    assert args.decoder_embed_dim == args.encoder_embed_dim == experiment.model.embed_dim
    assert args.lr == [experiment.training.lr]
    assert (args.max_update or 0) == experiment.training.max_update
    assert not args.no_save_optimizer_state
    assert args.criterion.startswith("memtx") == (decoder == "compressive")


def test_segment_decoders_use_their_memory_on_most_targets(tmp_path: Path) -> None:
    line = commands.train_command(EXPERIMENTS["demo"], tmp_path, tmp_path, Run("compressive", 1, 1))
    lengths = [line[line.index(f"--memtx-{name}-len") + 1] for name in ("segment", "mem", "cmem")]
    assert lengths == ["8", "8", "4"]


@pytest.mark.parametrize("tokenizer", ["none", "moses"])
def test_fairseq_parses_the_generation(tokenizer: str, tmp_path: Path) -> None:
    from fairseq import options

    experiment = EXPERIMENTS["demo"]
    line = commands.generate_command(experiment, tmp_path, tmp_path / "a.pt", tokenizer)
    args = options.parse_args_and_arch(options.get_generation_parser(), input_args=line[1:])
    assert (args.beam, args.lenpen) == (experiment.decoding.beam, experiment.decoding.lenpen)
    assert args.tokenizer == (None if tokenizer == "none" else "moses")


def test_patterns_find_each_prefix_once(tmp_path: Path) -> None:
    data = replace(EXPERIMENTS["wmt14-mini"].data, train=("train/*", "more/x"))
    (tmp_path / "train").mkdir()
    for name in ("b.en.gz", "b.de.gz", "a.en", "a.de", "a.docid", "tool.v2.en"):
        (tmp_path / "train" / name).touch()
    experiment = replace(EXPERIMENTS["wmt14-mini"], data=data)
    found = commands.train_prefixes(experiment, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "train/a",
        "train/b",
        "train/tool.v2",
        "more/x",
    ]


def test_published_lines_name_no_folder_of_the_machine() -> None:
    inside = shell.ROOT / "runs" / "x"
    line = shell.shell_line(
        ["tool", str(inside), f"name={inside}", "/mnt/me/data", "../x/text", "a b"]
        + [f"{inside}:{inside}/y", "a:b", f"n={inside}:{inside}"]
    )
    assert line == "tool runs/x name=runs/x data text 'a b' runs/x:runs/x/y a:b n=runs/x:runs/x"


def test_without_removes_a_flag_and_its_value() -> None:
    assert commands.without(["--a", "1", "--b", "2"], "--a") == ["--b", "2"]
    assert commands.without(["--b", "2"], "--a") == ["--b", "2"]
