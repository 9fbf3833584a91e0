"""A tiny, untrained model of each decoder, as the checkpoint that fairseq-train would leave."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from scripts.experiment import commands
from scripts.experiment.configs import EXPERIMENTS, Experiment, Model, Training
from scripts.experiment.folders import Run

TINY = Experiment(
    name="tiny",
    summary="for tests",
    data=EXPERIMENTS["demo"].data,
    model=Model(encoder_layers=1, embed_dim=16, ffn_dim=16, heads=2, dropout=0.1),
    training=Training(max_tokens=1000, lr=1e-3, warmup_updates=4, max_update=6, log_interval=2),
    min_gain=-100.0,
    published=False,
)


def write_checkpoint(data_bin: Path, path: Path, decoder: str, depth: int, flags: str = "") -> Path:
    """Build a model from the experiment's own command line and save it untrained."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import fairseq_memtx.plugin  # noqa: F401  (registers the decoder)

    line = commands.train_command(TINY, data_bin, path.parent, Run(decoder, depth, 1))
    args = options.parse_args_and_arch(
        options.get_training_parser(), input_args=[*line[1:], *flags.split()]
    )
    config = convert_namespace_to_omegaconf(args)
    _save_untrained(config, path)
    return path


def write_language_model(data_bin: Path, path: Path) -> Path:
    """An untrained Transformer language model of fairseq's, whose scores are scattered.

    Args:
        data_bin: a folder with `dict.txt`.
        path: to write to.
    """
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    sizes = "--decoder-embed-dim 8 --decoder-ffn-embed-dim 8 --decoder-attention-heads 2"
    line = f"--task language_modeling --arch transformer_lm --decoder-layers 1 {sizes}"
    parser = options.get_training_parser()
    words = [str(data_bin), *line.split(), "--max-tokens", "99", "--optimizer", "adam"]
    args = options.parse_args_and_arch(parser, input_args=words)
    _save_untrained(convert_namespace_to_omegaconf(args), path)
    return write_scattered(path, path)


def _save_untrained(config: Any, path: Path) -> None:
    import torch
    from fairseq import tasks

    torch.manual_seed(1)
    model = tasks.setup_task(config.task).build_model(config.model)
    history = {"num_updates": 1, "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}}
    state = {
        "args": None,
        "cfg": config,
        "model": model.state_dict(),
        "optimizer_history": [history],
        "last_optimizer_state": None,
        "extra_state": {},
    }
    torch.save(state, path)


def write_scattered(checkpoint: Path, path: Path, spread: float = 0.3) -> Path:
    """The same with random weights, so large that different sources have different translations.

    Args:
        checkpoint: of a model.
        path: to write to.
        spread: standard deviation of what is added to each weight.
    """
    import torch

    state = torch.load(checkpoint, weights_only=True)
    generator = torch.Generator().manual_seed(1)
    for weight in state["model"].values():
        weight += spread * torch.randn(weight.shape, generator=generator)
    torch.save(state, path)
    return path


def scattered_models(
    data_bin: Path, folder: Path, spread_of: Callable[[str], float] = lambda decoder: 0.3
) -> Callable[[str], Path]:
    """What writes a tiny model with random weights when its decoder is first asked for.

    Args:
        data_bin: the data that it is for.
        folder: to write to.
        spread_of: see `write_scattered`, by the decoder's name.
    """

    @cache
    def model(name: str) -> Path:
        write_checkpoint(data_bin, folder / "plain.pt", name, 2)
        return write_scattered(folder / "plain.pt", folder / f"{name}.pt", spread_of(name))

    return model
