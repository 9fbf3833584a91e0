"""What a long measurement has found so far, kept in a file until it ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.files import hash_of, write_json

logger = logging.getLogger(__name__)


class Unfinished:
    """Parts that were measured whole, by name; another run of the same kind goes on after them.

    Args:
        path: of the file.
        conditions: what all parts rest on; the parts of a file with others are measured again.

    Attributes:
        sessions: runs that have measured a part.
        notes: lines to be kept beside the parts; may be added to.
    """

    def __init__(self, path: Path, conditions: Any) -> None:
        self.path, self._key = path, hash_of(conditions)
        self._parts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.sessions, self._has_added = 0, False
        self._read()

    def _read(self) -> None:
        try:
            found = json.loads(self.path.read_bytes())
            if found["conditions"] == self._key:
                self._parts, self.notes = found["parts"], found["notes"]
                self.sessions = found["sessions"]
                return
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):  # damaged: nothing is lost but time
            pass
        logger.info("`%s` is of another run: all is measured anew", self.path)

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """The part of this name; measured and kept if it is not there."""
        if name in self._parts:
            logger.info("%s: was measured before the interruption", name)
            return self._parts[name]
        found = measure()
        if not self._has_added:
            self.sessions, self._has_added = self.sessions + 1, True
        self._parts[name] = found
        kept = {"sessions": self.sessions, "notes": self.notes, "parts": self._parts}
        write_json(self.path, {"conditions": self._key, **kept})
        return found
