"""Reading folders of records, of whatever kind."""

from __future__ import annotations

import json
from pathlib import Path

from fairseq_memtx.ground.errors import UserError


def read_json(folder: Path) -> dict[str, dict]:
    """Records of any kind by the names of their files, in order.

    Raises:
        UserError: none there, or damaged.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"`{path}` is damaged, for it is not JSON: {error}") from error
    if not found:
        raise UserError(f"`{folder}` holds no records")
    return found
