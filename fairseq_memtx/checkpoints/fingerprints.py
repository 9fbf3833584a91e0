"""What tells the data of one training from that of another: hashes that travel in its checkpoints.

A checkpoint holds numbers of words, not the words: with a dictionary of the same size and other
words, or another order of them, it translates into nonsense without an error. So a training keeps
the hashes of its dictionaries, its sentencepiece model and its text steps in `extra_state`, and
whoever uses a checkpoint compares them with the data at hand.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..ground.errors import UserError
from ..ground.files import hash_of, sha256_of
from ..ground.layout import SUBWORD_MODEL, told_in

logger = logging.getLogger(__name__)

#: Of `extra_state`.
KEY = "memtx_data"

#: What each entry is of, for messages.
NAMES = {
    "source": "the source dictionary",
    "target": "the target dictionary",
    "dictionary": "the dictionary",
    "subwords": "the sentencepiece model",
    "text": "the preparation of the text (its tokenizer, or what it replaces)",
}
#: Options of data_prep that say what a line goes through before it is cut into subwords.
TEXT_STEPS = ("tokenizer", "normalize", "control")


def of_task(task: Any) -> dict[str, str]:
    """The fingerprints of a task's data: those of its dictionaries, and what lies beside them.

    Args:
        task: of fairseq's, set up.
    """
    found = {}
    for side in ("source", "target"):
        words = getattr(getattr(task, f"{side}_dictionary", None), "symbols", None)
        if words is not None:
            found[side] = of_words(words)
    data = str(getattr(getattr(task, "cfg", None), "data", "") or "").split(os.pathsep)[0]
    return {**found, **of_folder(Path(data))} if data else found


def of_words(words: list[str]) -> str:
    """The hash of words in the order of their numbers."""
    return hash_of(list(words))


def of_folder(data: Path) -> dict[str, str]:
    """The fingerprints of the subwords and the text steps of a binarised set, as far as known."""
    found = {}
    if (data / SUBWORD_MODEL).is_file():
        found["subwords"] = sha256_of(data / SUBWORD_MODEL)
    for path in told_in(data)[:1]:
        try:
            options = json.loads(path.read_bytes())["options"]
            found["text"] = hash_of({name: options[name] for name in TEXT_STEPS if name in options})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"`{path}` is not as data_prep wrote it: prepare the data anew"
            ) from error
    return found


def check_split(data: Path, split: str) -> None:
    """Refuse binarised files of a split that are not those that data_prep wrote.

    A file whose size and time are still those that data_prep noted is not read again. Nothing
    happens where data_prep tells nothing.

    Args:
        data: the folder of the binarised set.
        split: such as `train`.

    Raises:
        UserError: where a file is missing, cut or changed.
    """
    for report in told_in(data)[:1]:
        noted = _read_json(report.parent / "stamps" / "binarise.json").get("outputs", {})
        for name, known in _read_json(report).get("outputs", {}).items():
            path = data / Path(name).name
            if path.name.startswith(f"{split}.") and path.suffix in (".bin", ".idx"):
                _check_file(path, str(known), noted.get(name, {}))


def _check_file(path: Path, known: str, noted: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise UserError(f"`{path}` is missing: prepare the data again")
    status = path.stat()
    unchanged = (noted.get("size"), noted.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    if not (unchanged and noted.get("sha256") == known) and sha256_of(path) != known:
        raise UserError(
            f"`{path}` is not as data_prep wrote it: it was changed, cut or damaged. Copy it again,"
            " or prepare the data again."
        )


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def held(state: Mapping[str, Any]) -> dict[str, str]:
    """The fingerprints in a loaded checkpoint, none in one that was saved without."""
    extra = state.get("extra_state")
    found = extra.get(KEY) if isinstance(extra, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def compare(state: Mapping[str, Any], present: Mapping[str, str], path: str | os.PathLike[str]
            ) -> None:  # fmt: skip
    """Refuse data that is not that of a checkpoint.

    Args:
        state: the loaded checkpoint.
        present: fingerprints of the data at hand.
        path: of the file.

    Raises:
        UserError: where something differs; the message says what.
    """
    trained = held(state)
    if not trained:
        logger.info("%s does not tell which dictionaries it was trained with", path)
    for name, value in present.items():
        if name in trained and trained[name] != value:
            raise UserError(
                f"{NAMES.get(name, name)} is not that which `{path}` was trained with: name the"
                " data of that training, prepare this data with its model and dictionaries, or"
                " give it this data's with `memtx adapt`"
            )
