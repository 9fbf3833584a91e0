"""What a translator is made of, and who loads it: from checkpoints or from folders."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..ground.errors import UserError
from ..ground.text import TextSteps
from .settings import SearchSettings


class Wanted(NamedTuple):
    """The arguments of `Translator.from_pretrained`, see there."""

    paths: list[Path]
    data: Path | None
    search: SearchSettings | None
    device: str
    half: bool
    int8: bool
    steps: TextSteps | None


class Loaded(NamedTuple):
    """What a `Translator` is made of, see there."""

    models: list[Any]
    task: Any
    generator: Any
    subwords: Any
    steps: TextSteps
    search: SearchSettings


def load(wanted: Wanted) -> Loaded:
    """All of it.

    Raises:
        UserError: where a file is missing or unusable; the message says which.
    """
    if not wanted.paths:
        raise UserError("no model is named: name a checkpoint or a folder")
    folders = [path.is_dir() for path in wanted.paths]
    if any(folders) and not all(folders):
        raise UserError("the models of an ensemble are all checkpoints or all folders, not both")
    device = usable_device(wanted.device)
    if wanted.search is not None and wanted.search.workers > 1 and device.type != "cpu":
        raise UserError(f"`workers` is {wanted.search.workers}: on a GPU it has to be 1")
    if all(folders):
        from ..folder.loading import load_folders

        return load_folders(wanted, device)
    from .checkpoints import load_checkpoints

    return load_checkpoints(wanted, device)


def usual_search(path: Path) -> SearchSettings:
    """The search of a folder, or of any checkpoint.

    Raises:
        UserError: where the folder is unusable.
    """
    if not path.is_dir():
        return SearchSettings()
    from ..folder.loading import default_search

    return default_search(path)


def usable_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UserError: where there is none.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"`device` is {name}: it has to be cpu, or a GPU that PyTorch can use"
        ) from error
    return device
