"""What may be published in results/: nothing that was made by code that no commit has.

Records that were published before this rule are named in `results/published-with-changes.txt`, each
by its hash; they are measured again when their experiment next runs.
"""

from __future__ import annotations

import json
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of
from scripts.shared.provenance import CHECKOUT, git_state

RESULTS = CHECKOUT / "results"
ALLOWED = RESULTS / "published-with-changes.txt"


def is_public(place: Path) -> bool:
    """Whether a folder is one of the published."""
    return place.resolve().is_relative_to(RESULTS)


def check_checkout(place: Path) -> None:
    """Refuse, before anything is measured, what could not be published after.

    Raises:
        UserError: `place` is below results/, and tracked files differ from the commit.
    """
    if is_public(place) and git_state()[1]:
        raise UserError(
            f"`{place}` is for results that a commit can make again, and this checkout has"
            " changes: commit them, or choose another --results-dir"
        )


def check_records(folder: Path) -> None:
    """Refuse to publish records from a checkout with changes, but those published before.

    Raises:
        UserError: the folder is below results/ and has such a record.
    """
    if not is_public(folder):
        return
    allowed = allowed_hashes()
    for path in sorted(folder.glob("*.json*")):
        for record in read_any(path):
            if is_dirty(record) and hash_of(record) not in allowed:
                raise UserError(
                    f"`{path}` is of a checkout with changes and cannot be published: commit them"
                    " and run it again"
                )


def read_any(path: Path) -> list[dict]:
    """The record of a file, or those of its lines."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return [json.loads(text)]
    return [json.loads(line) for line in text.split("\n") if line]


def is_dirty(record: object) -> bool:
    """Whether a record, or anything in it, is of a checkout with changes."""
    if isinstance(record, dict):
        commit = record.get("commit")
        marked = isinstance(commit, str) and commit.endswith("+")
        return record.get("dirty") is True or marked or any(map(is_dirty, record.values()))
    return isinstance(record, list) and any(map(is_dirty, record))


def allowed_hashes() -> set[str]:
    """The hashes (`hash_of`) of the records published before the rule."""
    lines = ALLOWED.read_text(encoding="utf-8").splitlines()
    return {line.split()[0] for line in lines if line and not line.startswith("#")}
