"""A plain text as fairseq's language modeling data, character by character.

A token is a character, a space is written as ``▁``; the end of a line is fairseq's end-of-sentence
symbol. The tokens of a split are therefore its characters, no more and no less, and the loss in
bits for each token is in bits for each character.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import processes, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes, write_json
from fairseq_memtx.ground.stamps import Stamps, describe
from scripts.experiment.folders import ExperimentFolder

logger = logging.getLogger(__name__)

SPACE = "▁"
#: Shares of the text, in its order.
SPLITS = {"train": 0.9, "valid": 0.05, "test": 0.05}


def find_text(given: Path | None, relative: str) -> Path:
    """The file `relative` or `relative`.gz below ``--corpora``, else $MEMTX_CORPORA."""
    folder = given or os.environ.get("MEMTX_CORPORA")
    if not folder:
        raise UserError(f"`{relative}` is needed: give its folder by --corpora or $MEMTX_CORPORA")
    plain = Path(folder) / relative
    for path in (plain, plain.with_name(plain.name + ".gz")):
        if path.is_file():
            return path
    raise UserError(f"`--corpora` holds neither `{relative}` nor `{relative}.gz`")


def read_text(path: Path) -> str:
    """The whole text, decompressed if its name ends in ``.gz``."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"the gzip file `{path}` is damaged: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"`{path}` is not UTF-8 at byte {error.start}") from error


def split_text(text: str) -> dict[str, list[str]]:
    """The lines of each split: whole lines, cut where the share of characters is reached."""
    lines = text.removesuffix("\n").split("\n")
    total, done, parts = len(text), 0, {}
    end, share = 0, 0.0
    for name, part in SPLITS.items():
        start, share = end, share + part
        while end < len(lines) and done + len(lines[end]) + 1 <= share * total + 1e-6:
            done += len(lines[end]) + 1
            end += 1
        parts[name] = lines[start:end]
    parts["test"] += lines[end:]
    return parts


def check(parts: dict[str, list[str]]) -> None:
    """Refuse text that the spelling would change or the dictionary would not know.

    Raises:
        UserError: naming the first character that is wrong.
    """
    characters = {name: sorted(set().union(*lines)) for name, lines in parts.items()}
    for name, found in characters.items():
        if not parts[name]:
            raise UserError(f"the text is too short: `{name}` gets no line")
        for character in found:
            if character == SPACE or (character.isspace() and character != " "):
                raise UserError(f"{name} holds {character!r}, which the text may not hold")
            if character not in characters["train"]:
                raise UserError(f"{character!r} of {name} does not occur in train")


def spell(line: str) -> str:
    """Its characters with spaces between them."""
    return " ".join(line.replace(" ", SPACE))


def preprocess_command(spelled: Path, out: Path) -> list[str]:
    """``fairseq-preprocess`` for the files of the splits in `spelled`."""
    command = ["fairseq-preprocess", "--only-source", "--destdir", str(out)]
    for name in SPLITS:
        command += [f"--{name}pref", str(spelled / name)]
    return [*command, "--workers", "1"]


def prepare(text: Path, folder: ExperimentFolder) -> None:
    """Spell and binarise the text; ``prepared.json`` tells the characters of each split."""
    names = ["dict.txt", *(f"{name}.{end}" for name in SPLITS for end in ("bin", "idx"))]
    outputs = [folder.prepared, *(folder.data_bin / name for name in names)]
    inputs = {"text": describe(text)["sha256"], "splits": SPLITS, "space": SPACE}
    Stamps(folder.path).run("prepare", inputs, outputs, lambda: binarise(text, folder, names))


def binarise(text: Path, folder: ExperimentFolder, names: Sequence[str]) -> dict:
    """The work of `prepare`; the counts."""
    parts = split_text(read_text(text))
    check(parts)
    spelled = folder.data / "spelled"
    for name, lines in parts.items():
        write_bytes(spelled / name, "".join(spell(line) + "\n" for line in lines).encode())
    command = preprocess_command(spelled, folder.data_bin)
    logger.info("prepare: %s", shell.shell_line(command))
    job = processes.Job("preprocess", shell.executable(command), folder.path / "preprocess.log")
    if processes.run_all([job], 1):
        raise UserError(f"binarising failed, `{job.log}` ends:\n{job.log_tail()}")
    counts = {name: sum(len(line) + 1 for line in lines) for name, lines in parts.items()}
    types = len(set().union(*parts["train"])) + 1
    found = {name: describe(folder.data_bin / name)["sha256"] for name in names}
    write_json(
        folder.prepared,
        {"text": text.name, "characters": counts, "types": types, "outputs": found},
    )
    return {"characters": counts}


def read_counts(folder: ExperimentFolder) -> dict:
    """What `prepare` says of the data."""
    return json.loads(folder.prepared.read_bytes())
