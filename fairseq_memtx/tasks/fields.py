"""Our option dataclasses as settings of fairseq's tasks."""

import dataclasses
from typing import Any

from ..config import PREFIX, help_of


def fairseq_fields(*options: type) -> list[tuple[str, Any, Any]]:
    """The fields of our option dataclasses as fields of one of fairseq's, for `make_dataclass`."""
    return [
        (PREFIX + item.name, item.type, dataclasses.field(
            default=item.default, metadata={"help": f"{help_of(item)} (%(default)r)"}
        ))
        for option in options
        for item in dataclasses.fields(option)
    ]  # fmt: skip
