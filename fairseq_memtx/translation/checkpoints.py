"""What a translator is made of, from fairseq's checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment

from .. import checkpoints, plugin  # noqa: F401  (plugin registers the models)
from ..config import GeneratorOptions
from ..generation.generator import generator_class
from ..generation.search import check_eight_bits, own_settings
from ..ground import text
from ..ground.errors import UserError
from ..ground.files import in_one_line
from ..ground.layout import SUBWORD_MODEL
from ..ground.text import TextSteps
from ..modules.rounding import round_model
from .loading import Loaded, Wanted
from .settings import SearchSettings


def load_checkpoints(wanted: Wanted, device: torch.device) -> Loaded:
    """One, or those of an ensemble.

    Raises:
        UserError: see `loading.load`.
    """
    search = wanted.search or SearchSettings()
    folder = data_folder(wanted.paths[0], wanted.data)
    models, cfg, task = load_models(wanted.paths, folder)
    generation = _generation(cfg, search)
    for model in models:
        model = model.half() if wanted.half else model
        model.to(device).eval()
        model.prepare_for_inference_(cfg)
        if wanted.int8:
            round_model(model)
    check_eight_bits(models)
    generator = _generator(models, task, generation, search)
    steps = TextSteps.of(folder) if wanted.steps is None else wanted.steps
    subwords = text.load_subwords(folder / SUBWORD_MODEL)
    return Loaded(models, task, generator, subwords, steps, search)


def load_models(paths: Sequence[Path], data: Path) -> tuple[list[Any], Any, Any]:
    """The models of an ensemble, the settings and the task of the first.

    Args:
        paths: checkpoints.
        data: folder with the dictionaries.

    Raises:
        UserError: for files that hold no translation model, or another one than the data's.
    """
    for path in paths:
        if not path.is_file():
            raise UserError(f"there is no checkpoint `{path}`: check the path")
    overrides = {"data": str(data), "bf16": False}
    with in_one_line(paths[0], f"a translation model for the dictionaries in `{data}`"):
        found = checkpoint_utils.load_model_ensemble_and_task([str(p) for p in paths], overrides)
    for path, model in zip(paths, found[0], strict=True):
        if not (hasattr(model, "encoder") and hasattr(model, "decoder")):
            raise UserError(f"`{path}` is not a translation model: it has no encoder or decoder")
    return found


def data_folder(checkpoint: Path, data: Path | None) -> Path:
    """The folder with dictionaries and subwords.

    Args:
        checkpoint: a model's.
        data: the folder that was asked for; None for the one that the model was trained on, or else
            the checkpoint's own.

    Raises:
        UserError: where it has no sentencepiece model, or the checkpoint is unusable.
    """
    if not checkpoint.is_file():
        raise UserError(f"there is no checkpoint `{checkpoint}`: check the path")
    tried = [data] if data is not None else [_trained_on(checkpoint), checkpoint.parent]
    for folder in tried:
        if (folder / SUBWORD_MODEL).is_file():
            return folder
    names = " or ".join(f"`{folder}`" for folder in dict.fromkeys(tried))
    raise UserError(
        f"{SUBWORD_MODEL} and the dictionaries are not in {names}: name the folder of the binarised"
        " data"
    )


def _trained_on(checkpoint: Path) -> Path:
    """The data folder that a checkpoint names."""
    with in_one_line(checkpoint, "a checkpoint of fairseq's"):
        state = checkpoints.load(checkpoint)
        return Path(str(checkpoints.settings.of(state)["task"]["data"]).split(":")[0])


def _generator(models: list[Any], task: Any, generation: Any, search: SearchSettings) -> Any:
    """The generator that the search asks for, whatever task the model was trained for."""
    extra: dict[str, Any] = {}
    if search.generator == "fairseq":  # named, since the training may have asked for ours
        if not search.alignment:
            return task.build_generator(models, generation, SequenceGenerator)
        extra["print_alignment"] = generation.print_alignment
        return task.build_generator(models, generation, SequenceGeneratorWithAlignment, extra)
    kind = generator_class(generation, extra)
    options = GeneratorOptions(search.generator, search.shortlist, native=search.native)
    extra |= own_settings(options, task.source_dictionary, task.target_dictionary)
    return task.build_generator(models, generation, kind, extra)


def _generation(cfg: Any, search: SearchSettings) -> Any:
    """fairseq's options of the search with ours filled in."""
    from omegaconf import open_dict

    with open_dict(cfg.generation):
        for name, value in search.fairseqs().items():
            setattr(cfg.generation, name, value)
    return cfg.generation
