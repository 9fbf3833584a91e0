"""What the stages of a run ask of each other's stamps (see ``fairseq_memtx.ground.stamps``)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from scripts.experiment.folders import RunFolder


def read_stamp(folder: RunFolder, stage: str) -> dict | None:
    """The stage's stamp, or None where the stage was not finished."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return json.loads((folder.path / "stamps" / f"{stage}.json").read_bytes())
    return None


def require_stamp(folder: RunFolder, stage: str) -> dict:
    """The stage's stamp; a UserError says to run the stage where there is none."""
    stamp = read_stamp(folder, stage)
    if stamp is None:
        raise UserError(f"`{folder.path.name}` is not through the stage `{stage}`: run it first")
    return stamp


def is_done(folder: RunFolder, stage: str, inputs: dict) -> bool:
    """Whether the stage was finished from these inputs and its outputs are still there."""
    stamp = read_stamp(folder, stage)
    if stamp is None or stamp["inputs"] != inputs:
        return False
    return all((folder.path / name).exists() for name in stamp["outputs"])


def output_hash(folder: RunFolder, stage: str, path: Path) -> str:
    """SHA-256 of a stage's output, as its stamp has it."""
    name = path.relative_to(folder.path).as_posix()
    return require_stamp(folder, stage)["outputs"][name]["sha256"]
