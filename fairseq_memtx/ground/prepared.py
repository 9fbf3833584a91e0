"""`prepared.json`: what a preparation tells of itself, checked before it is believed."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import UserError
from .files import read_json
from .layout import PREPARED, SPLITS

#: fairseq takes the languages out of file names, which it splits at dots and hyphens.
LANGUAGE = re.compile(r"[A-Za-z0-9_]+")
#: Endings of files that lie beside a text and are none.
RESERVED = ("docid", "context", "gz", "sgm", "bin", "idx", "txt")


def read_report(folder: Path) -> dict[str, Any]:
    """What is told of the preparation in a folder.

    Raises:
        UserError: there is nothing, or something of another shape, or a name of a file that is not
            within the folder.
    """
    path = folder / PREPARED
    report = read_json(path, "data_prep's report")
    for name in ("source_lang", "target_lang"):
        if not is_language(report.get(name)):
            raise _wrong(path, f"a language as `{name}`", report.get(name))
    outputs, pairs = report.get("outputs"), report.get("pairs")
    if not isinstance(outputs, dict):
        raise _wrong(path, "the hashes of files as `outputs`", outputs)
    for name, sha256 in outputs.items():
        if not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)):
            raise _wrong(path, f"a SHA-256 of `{name}`", sha256)
        if not is_inside(name):
            raise UserError(f"`{path}` names `{name}`, which is not a file of its folder: refused")
    if not (isinstance(pairs, dict) and all(type(pairs.get(split)) is int for split in SPLITS)):
        raise _wrong(path, "numbers as `pairs`", pairs)
    return report


def _wrong(path: Path, rule: str, found: Any) -> UserError:
    told = " ".join(repr(found).split())[:60]
    return UserError(f"`{path}` holds {told} instead of {rule}: prepare the data anew")


def is_language(name: object) -> bool:
    """Whether fairseq can find a language of this name in the names of files."""
    return isinstance(name, str) and bool(LANGUAGE.fullmatch(name)) and name not in RESERVED


def is_inside(name: str) -> bool:
    """Whether a relative name stays within its folder, on any system."""
    parts = PurePosixPath(name).parts
    plain = all(part not in ("..", ".") for part in parts) and parts == tuple(name.split("/"))
    return bool(parts) and plain and not set(name) & set("\\:\0") and not name.startswith("/")


def check_folder(path: Path, flag: str) -> None:
    """Refuse a folder whose name fairseq cannot be told.

    Raises:
        UserError: fairseq takes a colon for the end of a folder's name.
    """
    if {":", "\0"} & set(str(path.absolute())):
        raise UserError(
            f"`{flag} {path}` has a colon (or NUL) in its whole path `{path.absolute()}`, which"
            " fairseq takes for the end of a folder's name: use another folder"
        )
