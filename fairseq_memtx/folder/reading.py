"""Opening a model's folder: every file is checked before it is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..ground.errors import UserError
from ..ground.files import sha256_of
from ..ground.layout import SUBWORD_MODEL
from ..modules.int8 import round_linears
from ..modules.rounding import KEEP
from ..plain.model import PlainModel
from ..plain.shapes import ModelShape
from ..plain.unfilled import Unfilled
from . import names
from .config import Config, read_config
from .vocabulary import Vocabulary, read_vocabularies
from .weights import check_header, read_weights

#: Numbers that fairseq keeps among the weights, of no use here.
VERSIONS = ("encoder.version", "decoder.version")


class Opened(NamedTuple):
    """A folder whose files are whole.

    Attributes:
        folder: it.
        config: what it tells.
        source, target: the words.
        files: of each name the file to read.
    """

    folder: Path
    config: Config
    source: Vocabulary
    target: Vocabulary
    files: Mapping[str, Path]

    def weights(self) -> dict[str, Tensor]:
        """All weights by fairseq's names; those that are one have the same tensor.

        Raises:
            UserError: where they are none of this model's.
        """
        path = self.files[names.WEIGHTS]
        expected = self._expected()
        same_as = self.config.same_as
        for name, other in same_as.items():
            if not {name, other} <= set(expected) or other in same_as:
                raise UserError(
                    f"`{self.folder / names.CONFIG}` has `{name[:80]}` for another name of"
                    f" `{other[:80]}`, which is none of the model's weights"
                )
        stored = {name: x for name, x in expected.items() if name not in same_as}
        check_header(path, stored, self.config.precision)
        found = read_weights(path)
        found |= {name: found[other] for name, other in same_as.items()}
        for name, other in same_as.items():
            if expected[name].shape != expected[other].shape:
                raise UserError(f"`{name}` and `{other}` cannot be the same: their sizes differ")
        return found

    def _expected(self) -> dict[str, Tensor]:
        """The model's weights by name, without their values."""
        with torch.device("meta"):
            made = self._build().state_dict()
        return {**made, **{name: torch.empty(1, device="meta") for name in VERSIONS}}

    def _build(self) -> PlainModel:
        shape: ModelShape = self.config.model
        try:
            with Unfilled():
                model = PlainModel(shape)
            if self.config.precision == "int8":
                round_linears(model, KEEP)
        except (ValueError, RuntimeError) as error:
            reason = str(error).split("\n")[0]
            raise UserError(f"`{self.folder / names.CONFIG}` cannot be used: {reason}") from None
        return model

    def model(self) -> PlainModel:
        """The model, in evaluation.

        Raises:
            UserError: see `weights`.
        """
        weights = self.weights()
        model = self._build()
        model.load_state_dict({n: x for n, x in weights.items() if n not in VERSIONS})
        return model.eval()


def open_folder(folder: Path) -> Opened:
    """Check all files of a folder but for the weights' values.

    Raises:
        UserError: where one is missing, damaged or not the one that the folder was written with.
    """
    config = read_config(names.file_in(folder, names.CONFIG, names.MOST_CONFIG))
    wanted = [names.WEIGHTS, names.VOCABULARY, SUBWORD_MODEL]
    wanted += [names.SHORTLIST] if config.has_shortlist else []
    files = {name: names.file_in(folder, name, names.READ[name]) for name in wanted}
    for name, path in files.items():
        check_hash(folder / name, path, config)
    source, target = read_vocabularies(files[names.VOCABULARY])
    sizes = len(source), len(target)
    told = config.model.source_words, config.model.target_words
    if sizes != told or not source.pad() == target.pad() == config.model.padding:
        raise UserError(
            f"`{folder / names.VOCABULARY}` has {sizes[0]:,} and {sizes[1]:,} words and its padding"
            f" at {source.pad()} and {target.pad()}: the model has {told[0]:,} and {told[1]:,}"
            f" words and its padding at {config.model.padding}"
        )
    return Opened(folder, config, source, target, files)


def check_hash(path: Path, real: Path, config: Config) -> None:
    """Refuse a file that is another one than the folder was written with."""
    told = config.files.get(path.name)
    if told is None:
        raise UserError(f"the configuration in `{path.parent}` does not tell of `{path.name}`")
    size = real.stat().st_size
    if size != told["bytes"]:
        raise UserError(
            f"`{path}` has {size:,} bytes instead of {told['bytes']:,}: copy the folder again"
        )
    if sha256_of(real) != told["sha256"]:
        raise UserError(
            f"`{path}` is not the file that the folder was written with (its SHA-256 is another):"
            " copy the folder again"
        )
