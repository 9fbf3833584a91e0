"""COMET (Rei et al. 2020) of given translations, where its package and a model are there.

The package is not installed with this one: COMET wants older versions of numpy, protobuf and
setuptools than the pinned ones, so that an environment of its own is the place for it. The model
is a file that was fetched before, beside which COMET keeps its ``hparams.yaml``; COMET itself looks
for the words of the model's encoder in the cache of Hugging Face and fetches them where they are
missing. The file is loaded by COMET, as pickled data is: take it from those whom you trust.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import sha256_of

BATCH = 16
PACKAGE = "unbabel-comet"
#: Version 2.2 imports `pkg_resources`, which later versions of setuptools no longer have.
INSTALL = f'pip install {PACKAGE} "setuptools<81"'


def comet(
    model: Path, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
    """The score of a system, in hundredths as COMET's is told mostly, and what it is told by.

    Args:
        model: checkpoint of COMET's.
        sources, hypotheses, references: as many lines each. A model that needs no references gets
            them and leaves them alone.

    Raises:
        UserError: where the package is missing, the model cannot be used, or the numbers of lines
            differ.
    """
    if not len(sources) == len(hypotheses) == len(references):
        raise UserError(
            f"`--comet` needs as many lines of each: the source has {len(sources)}, the hypotheses"
            f" {len(hypotheses)}, the references {len(references)}"
        )
    texts = zip(sources, hypotheses, references, strict=True)
    data = [{"src": src, "mt": mt, "ref": ref} for src, mt, ref in texts]
    found = load(model).predict(data, batch_size=BATCH, gpus=0, progress_bar=False)
    return {"score": round(100 * float(found.system_score), 2), "signature": signature(model)}


def signature(model: Path) -> str:
    """Package and model, in the form of sacreBLEU's."""
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        version = "unknown"
    return f"model:{model.name}|sha256:{sha256_of(model)[:16]}|x:100|version:{version}"


def check(model: Path) -> Callable[[str], Any]:
    """What loads COMET's models, where it and this one are there.

    Raises:
        UserError: where one of them is missing.
    """
    try:
        loader = importlib.import_module("comet").load_from_checkpoint
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"`--comet` needs a package that is not here ({INSTALL}): {error}"
        ) from error
    if not model.is_file():
        raise UserError(
            f"there is no file `--comet {model}`: name a COMET checkpoint that was fetched before"
        )
    return loader


@lru_cache(1)
def load(model: Path) -> Any:
    """COMET's model, kept for the next text.

    Raises:
        UserError: where the package is missing, or the model cannot be used.
    """
    loader = check(model)
    try:
        return loader(str(model))
    except Exception as error:
        # whatever COMET, Lightning or torch say of a file that is none of theirs
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"`--comet {model}` cannot be loaded: {reason}") from error
