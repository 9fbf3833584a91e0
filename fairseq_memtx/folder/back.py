"""From a model's folder back to a checkpoint of fairseq's, with the files that go with it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checkpoints import settings as checkpoint_settings
from ..checkpoints.saving import save
from ..ground.errors import UserError
from ..ground.files import atomic_writers, write_bytes
from ..ground.layout import SUBWORD_MODEL
from ..modules.rounding import ROUNDED
from . import names
from .reading import Opened, open_folder
from .settings import as_state
from .vocabulary import SPECIAL, Vocabulary


def write_checkpoint(folder: Path, out: Path) -> None:
    """Write the checkpoint, and beside it the dictionaries and the sentencepiece model.

    Raises:
        UserError: where the folder is damaged, or others of these files are there already.
    """
    opened = open_folder(folder)
    beside = files_beside(opened)
    for name, content in beside.items():
        path = out.parent / name
        if path.exists() and (not path.is_file() or path.read_bytes() != content):
            raise UserError(
                f"`{path}` is there already and of another model: write `--out` to another folder"
            )
    state = state_of(opened)
    for name, content in beside.items():
        if not (out.parent / name).exists():
            write_bytes(out.parent / name, content)
    with atomic_writers(out) as (file,):
        save(state, file)


def state_of(opened: Opened) -> dict[str, Any]:
    """The checkpoint's content.

    Raises:
        UserError: where the folder tells nothing that a checkpoint could have.
    """
    try:
        state = as_state(opened.config.settings)
    except ValueError as error:
        raise UserError(f"`{opened.folder / names.CONFIG}` cannot be used: {error}") from None
    if opened.config.precision == "int8":
        checkpoint_settings.change(state, "task", "_name", "memtx_translation")
        checkpoint_settings.change(state, "model", ROUNDED, True)
    return {**state, "model": opened.weights(), "last_optimizer_state": None}


def files_beside(opened: Opened) -> dict[str, bytes]:
    """By name, what a checkpoint's folder must have for translating."""
    sides: Sequence[tuple[str, Vocabulary]] = list(
        zip(opened.config.languages, (opened.source, opened.target), strict=True)
    )
    found = {SUBWORD_MODEL: opened.files[SUBWORD_MODEL].read_bytes()}
    for language, words in sides:
        if not re.fullmatch(r"[\w-]{1,40}", language):
            raise UserError(f"the language {language[:40]!r} cannot be part of a file's name")
        found[f"dict.{language}.txt"] = dictionary_text(words)
    return found


def dictionary_text(words: Vocabulary) -> bytes:
    """fairseq's file of a dictionary, which leaves its own four symbols out.

    Raises:
        UserError: where these are elsewhere than fairseq has them.
    """
    if [words.special[name] for name in SPECIAL] != list(range(len(SPECIAL))):
        raise UserError("the special symbols are not the first four words, as fairseq has them")
    rows = zip(words.symbols, words.counts, strict=True)
    lines = [f"{symbol} {count}\n" for symbol, count in rows][len(SPECIAL) :]
    return "".join(lines).encode()
