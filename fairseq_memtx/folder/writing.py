"""Writing a model's folder from a checkpoint: the configuration appears last."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .. import __version__, checkpoints
from ..checkpoints.weights import check_finite
from ..decoding.shortlist import Shortlist, fingerprint
from ..ground.errors import UserError
from ..ground.files import sha256_of, write_bytes
from ..ground.layout import SUBWORD_MODEL
from ..ground.text import TextSteps
from ..modules.rounding import is_rounded, round_model
from . import card, names, weights
from .config import Config
from .settings import settings_of
from .shape_of import shape_of
from .vocabulary import Vocabulary


class Export(NamedTuple):
    """What is exported, and how.

    Attributes:
        checkpoint: it.
        data: folder with the dictionaries; None for the one that it was trained on.
        precision: of the weights, see `config`.
        shortlist: file of `memtx shortlist`; None for none.
        record: of an experiment, for the card; None for none.
        search: options of the search that the folder sets.
    """

    checkpoint: Path
    data: Path | None = None
    precision: str = "float32"
    shortlist: Path | None = None
    record: Path | None = None
    search: dict[str, Any] = {}


def write_folder(export: Export, folder: Path) -> None:
    """Write it all.

    Raises:
        UserError: where the checkpoint is unusable, or the folder has files already.
    """
    from ..translation.checkpoints import data_folder, load_models

    refuse_used(folder)
    data = data_folder(export.checkpoint, export.data)
    (model,), _, task = load_models([export.checkpoint], data)
    shape = shape_of(model)
    sides = [Vocabulary.of(words) for words in (task.source_dictionary, task.target_dictionary)]
    model = in_precision(model, export.precision)
    values = model.state_dict()
    check_finite(values, export.checkpoint)
    same_as = weights.shared(values)
    stored = {name: x for name, x in values.items() if name not in same_as}
    contents = {
        names.WEIGHTS: weights.as_bytes(stored, export.precision),
        names.VOCABULARY: vocabulary_json(*sides),
        SUBWORD_MODEL: (data / SUBWORD_MODEL).read_bytes(),
    }
    if export.shortlist is not None:
        contents[names.SHORTLIST] = shortlist_bytes(export.shortlist, *sides)
    state = checkpoints.load(export.checkpoint)
    config = Config(
        model=shape,
        precision=export.precision,
        languages=(task.cfg.source_lang, task.cfg.target_lang),
        left_pad_source=bool(task.cfg.left_pad_source),
        steps=TextSteps.of(data),
        search=export.search,
        has_shortlist=export.shortlist is not None,
        same_as=same_as,
        files={name: about(content) for name, content in contents.items()},
        provenance=provenance(export.checkpoint, state, model),
        settings=settings_of(state),
    )
    contents[names.CARD] = card.text_of(config, folder.name, export.record, data).encode()
    contents[names.CONFIG] = as_json(config.as_json())
    write_all(folder, contents)


def write_all(folder: Path, contents: dict[str, bytes]) -> None:
    """Write the files of a new folder; where one cannot be written, or it is interrupted, none."""
    folder.mkdir(exist_ok=True)
    try:
        for name, content in contents.items():
            write_bytes(folder / name, content)
    except BaseException:
        for name in contents:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
        raise


def refuse_used(folder: Path) -> None:
    """Refuse a folder that has files, or a place where there can be none."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"`--out {folder}` is there already: name a new folder")
    if not folder.resolve().parent.is_dir():
        raise UserError(f"`--out {folder}` lies in no folder: make `{folder.parent}` first")


def in_precision(model: Any, precision: str) -> Any:
    """The model as it is stored: in eight bits, or in float32.

    Raises:
        UserError: for weights in eight bits that are to be floats.
    """
    if precision == "int8":
        return round_model(model)
    if is_rounded(model):
        raise UserError("the model's weights are in eight bits: export it with `--weights int8`")
    return model.float()


def vocabulary_json(source: Vocabulary, target: Vocabulary) -> bytes:
    """Both sides, or one where they are the same."""
    same = source.as_json() == target.as_json()
    return as_json({"source": source.as_json(), "target": None if same else target.as_json()})


def shortlist_bytes(path: Path, source: Vocabulary, target: Vocabulary) -> bytes:
    """The file, which has to be of these words.

    Raises:
        UserError: where it is not.
    """
    made_for = fingerprint(source.symbols, target.symbols)
    try:
        Shortlist.load(path, len(source), len(target), made_for)
    except ValueError as error:
        raise UserError(f"`--shortlist`: {error}") from None
    return path.read_bytes()


def about(content: bytes) -> dict[str, Any]:
    """A file's hash and size."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def provenance(checkpoint: Path, state: dict[str, Any], model: Any) -> dict[str, Any]:
    """Where a model is from, as far as its checkpoint tells."""
    history = (state.get("optimizer_history") or [{}])[-1]
    extra = state.get("extra_state") or {}
    score = extra.get("val_loss")
    return {
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": sha256_of(checkpoint),
        "parameters": sum(x.numel() for x in set(checkpoint_numbers(model))),
        "updates": history.get("num_updates"),
        "validation": score if isinstance(score, int | float) else None,
        "data": extra.get("memtx_data"),
        "memtx": __version__,
        "torch": torch.__version__,
    }


def checkpoint_numbers(model: Any) -> list[torch.Tensor]:
    """The tensors that are a model's numbers: parameters, and weights in eight bits."""
    rounded = [x for name, x in model.named_buffers() if not name.endswith(".version")]
    return [*model.parameters(), *rounded]


def as_json(content: Any) -> bytes:
    """As `ground.files.write_json` writes it."""
    return (json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
