"""What the systems of a decoding benchmark write: BLEU, the text by its hash, and differences."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fairseq_memtx.commands import score
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes
from scripts.shared import measure

logger = logging.getLogger(__name__)

FOLDER = "hypotheses"  # beside the record
HASH_DIGITS = 16  # of its name
BASELINE = "transformer"  # the architecture that others are compared with
FLOAT = ("plain", "fast", "graph")  # modes that find the same but for rounding


def translate(system: measure.System, count: int, size: int) -> Sequence[str]:
    """What a system makes of the whole test set of ``count`` lines, in batches of ``size``."""
    ((_, timing),) = measure.time_systems([system], size, count, 1, label=f"{system.name}, all")
    return timing.texts


def judge(
    facts: Sequence[dict], texts: Mapping[str, Sequence[str]], references: Sequence[str]
) -> list[dict]:
    """Note in the facts of each system what its text is worth.

    Args:
        facts: of each; ``bleu``, ``length_ratio`` and ``hypotheses_sha256`` are added.
        texts: of each, by its name.
        references: of the whole test set.

    Returns:
        The differences between systems; see `differences`.
    """
    for fact in facts:
        text = texts[fact["name"]]
        scores = score.score(text, references)
        fact["bleu"], fact["length_ratio"] = scores["bleu"], scores["length_ratio"]
        fact["hypotheses_sha256"] = measure.hash_of_lines(text)
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
    return folder / f"{name[:HASH_DIGITS]}.txt.gz"


def read_text(folder: Path, name: str) -> list[str]:
    """The lines of the text of a hash.

    Raises:
        UserError: if it is not there, or is another text.
    """
    path = text_path(folder, name)
    if not path.is_file():
        raise UserError(
            f"there is no file `{path}`, which held the hypotheses: run the benchmark again"
        )
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]
    if measure.hash_of_lines(lines) != name:
        raise UserError(
            f"`{path}` holds another text than that of its hash: run the benchmark again"
        )
    return lines


def prune(folder: Path, records: Iterable[dict]) -> None:
    """Remove the texts that none of the records names: those of earlier runs."""
    systems = [system for record in records for system in record["systems"]]
    named = {text_path(folder, s["hypotheses_sha256"]) for s in systems if "bleu" in s}
    for path in set(folder.glob(f"{'[0-9a-f]' * HASH_DIGITS}.txt.gz")) - named:
        path.unlink()


def differences(
    facts: Sequence[dict], texts: Mapping[str, Sequence[str]], references: Sequence[str]
) -> list[dict]:
    """Of BLEU, by sacreBLEU's paired bootstrap, once for all `pairs` of texts that differ."""
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)
    known: set[tuple[str, str]] = set()
    found = []
    for fact, baseline in pairs(facts):
        key = fact["hypotheses_sha256"], baseline["hypotheses_sha256"]
        if key[0] == key[1] or key in known:
            continue
        known.add(key)
        text, other = texts[fact["name"]], texts[baseline["name"]]
        lines = sum(one != two for one, two in zip(text, other, strict=True))
        compared = {"lines": lines, **score.compare(other, text, references)}
        found.append({"system": fact["name"], "baseline": baseline["name"], **compared})
    return found


def pairs(facts: Sequence[dict]) -> list[tuple[dict, dict]]:
    """What is compared: each architecture with the Transformer of its depth in the same mode (the
    first of several with the first, and so on), and each mode with the first that the same model
    has in float.
    """
    found = []
    for fact in facts:
        if fact["architecture"] != BASELINE:
            found += partner(facts, fact, fact["mode"])
        own = [one for one in facts if one["checkpoint"] == fact["checkpoint"]]
        first = next((one for one in own if one["mode"] in FLOAT), fact)
        found += [(fact, first)] if first is not fact else []
    return found


def partner(facts: Sequence[dict], fact: dict, mode: str) -> list[tuple[dict, dict]]:
    """A system beside the Transformer of its depth in a mode, if there is one: the first of several
    beside the first, and so on.
    """
    place = alike(facts, fact, fact["architecture"], fact["mode"]).index(fact)
    others = alike(facts, fact, BASELINE, mode)
    return [(fact, other) for other in others[place : place + 1]]


def alike(facts: Sequence[dict], fact: dict, architecture: str, mode: str) -> list[dict]:
    """All of an architecture and a mode that have the depth of ``fact``."""
    sizes = ("encoder_layers", "depth")
    return [
        one
        for one in facts
        if (one["architecture"], one["mode"]) == (architecture, mode)
        and all(one[key] == fact[key] for key in sizes)
    ]
