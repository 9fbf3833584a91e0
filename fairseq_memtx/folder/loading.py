"""What a translator is made of, from folders of `memtx export`."""

from dataclasses import replace
from pathlib import Path

import torch

from ..config import GeneratorOptions
from ..generation.plain_generator import PlainGenerator
from ..generation.search import check_eight_bits, own_settings
from ..ground import text
from ..ground.errors import UserError
from ..ground.layout import SUBWORD_MODEL
from ..modules.rounding import round_model
from ..translation.loading import Loaded, Wanted
from ..translation.settings import SearchSettings
from . import names
from .config import Config, read_config
from .reading import Opened, open_folder
from .task import FolderTask


def load_folders(wanted: Wanted, device: torch.device) -> Loaded:
    """One, or those of an ensemble.

    Raises:
        UserError: where a folder is damaged, or is of other words than the first.
    """
    opened = [open_folder(path) for path in wanted.paths]  # before what is said of a model's folder
    if wanted.data is not None:
        raise UserError(
            f"`data` is {wanted.data}: a model's folder has its own words, leave it out"
        )
    first = opened[0]
    for other in opened[1:]:
        refuse_others(first, other)
    search = wanted.search or default_search(first.folder, first.config)
    if search.generator == "fairseq":
        raise UserError("`generator` is fairseq: for a model's folder it has to be fast")
    models = []
    for one in opened:
        model = one.model()
        model = model.half() if wanted.half else model
        model.to(device).finish(need_attn=search.alignment)
        models.append(round_model(model) if wanted.int8 else model)
    check_eight_bits(models)
    options = GeneratorOptions(search.generator, search.shortlist, native=search.native)
    own = own_settings(options, first.source, first.target)
    generator = PlainGenerator(models, first.target, search, **own)
    steps = first.config.steps if wanted.steps is None else wanted.steps
    subwords = text.load_subwords(first.files[SUBWORD_MODEL])
    task = FolderTask(first.config, first.source, first.target)
    return Loaded(models, task, generator, subwords, steps, search)


def default_search(folder: Path, config: Config | None = None) -> SearchSettings:
    """The settings of a search that a folder is best used with.

    Args:
        folder: it.
        config: its configuration; None to read it.

    Raises:
        UserError: where it is damaged, or what it says is impossible.
    """
    if config is None:
        config = read_config(names.file_in(folder, names.CONFIG, names.MOST_CONFIG))
    search = SearchSettings(**config.search)
    if not config.has_shortlist:
        return search
    return replace(search, shortlist=str(folder / names.SHORTLIST))


def refuse_others(first: Opened, other: Opened) -> None:
    """Refuse an ensemble whose models have other words than each other."""
    ours, theirs = (
        (one.source.symbols, one.target.symbols, one.config.files[SUBWORD_MODEL]["sha256"])
        for one in (first, other)
    )
    if ours != theirs:
        raise UserError(
            f"`{other.folder}` has other words than `{first.folder}`: the models of an ensemble"
            " have the same"
        )
