"""What the systems of a decoding benchmark write: BLEU, the text by its hash, and differences."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.files import write_bytes
from scripts import measure, score

logger = logging.getLogger(__name__)

FOLDER = "hypotheses"  # beside the record
BASELINE = "transformer"  # the architecture that others are compared with
FLOAT = ("plain", "fast")  # modes that find the same


def judge(
    systems: Sequence[measure.System],
    facts: Sequence[dict],
    references: Sequence[str],
    out: Path,
    size: int,
) -> list[dict]:
    """Translate the whole test set, note its BLEU in the facts, store the text.

    Args:
        systems: what translates.
        facts: of each; ``bleu`` and ``hypotheses_sha256`` are added.
        references: of the whole test set.
        out: folder of the record.
        size: sentences in a batch.

    Returns:
        The differences between systems; see `differences`.
    """
    texts: dict[str, Sequence[str]] = {}
    found = measure.time_systems(systems, size, len(references), 1)
    for fact, (_, timing) in zip(facts, found, strict=True):
        fact["bleu"] = score.score(timing.texts, references)["bleu"]
        fact["hypotheses_sha256"] = store(out / FOLDER, timing.texts)
        texts[fact["name"]] = timing.texts
        logger.info("%s: BLEU %.2f", fact["name"], fact["bleu"]["score"])
    return differences(facts, texts, references)


def store(folder: Path, lines: Sequence[str]) -> str:
    """Write a text under the hash of its lines, which is returned."""
    name = measure.hash_of_lines(lines)
    text = "".join(f"{line}\n" for line in lines)
    write_bytes(text_path(folder, name), gzip.compress(text.encode(), mtime=0))
    return name


def text_path(folder: Path, name: str) -> Path:
    """Where the text of a hash is stored."""
    return folder / f"{name[:16]}.txt.gz"


def read_text(folder: Path, name: str) -> list[str]:
    """The lines of the text of a hash.

    Raises:
        UserError: if it is not there, or is another text.
    """
    path = text_path(folder, name)
    if not path.is_file():
        raise UserError(f"`{path}` must hold the hypotheses, but there is no such file")
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]
    if measure.hash_of_lines(lines) != name:
        raise UserError(f"`{path}` must hold the text of that hash, but holds another")
    return lines


def differences(
    facts: Sequence[dict], texts: dict[str, Sequence[str]], references: Sequence[str]
) -> list[dict]:
    """Of BLEU, by sacreBLEU's paired bootstrap, once for all `pairs` of texts that differ."""
    known: set[tuple[str, str]] = set()
    found = []
    for fact, baseline in pairs(facts):
        key = fact["hypotheses_sha256"], baseline["hypotheses_sha256"]
        if key[0] == key[1] or key in known:
            continue
        known.add(key)
        compared = score.compare(texts[baseline["name"]], texts[fact["name"]], references)
        found.append({"system": fact["name"], "baseline": baseline["name"], **compared})
    return found


def pairs(facts: Sequence[dict]) -> list[tuple[dict, dict]]:
    """What is compared: each architecture with the Transformer of its depth in the same mode (the
    first of several with the first, and so on), and each mode with the same model in float."""
    found = []
    for fact in facts:
        if fact["architecture"] != BASELINE:
            place = alike(facts, fact, fact["architecture"]).index(fact)
            found += [(fact, one) for one in alike(facts, fact, BASELINE)[place : place + 1]]
        if fact["mode"] not in FLOAT:
            own = [one for one in facts if one["checkpoint"] == fact["checkpoint"]]
            found += [(fact, one) for one in own if one["mode"] in FLOAT][:1]
    return found


def alike(facts: Sequence[dict], fact: dict, architecture: str) -> list[dict]:
    """All of an architecture that have the depth and the mode of ``fact``."""
    same = ("encoder_layers", "depth", "mode")
    return [
        one
        for one in facts
        if one["architecture"] == architecture and all(one[key] == fact[key] for key in same)
    ]
