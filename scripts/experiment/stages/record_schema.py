"""What the record of a run holds, by schema: the present one, and the one of older records.

Schema 1 knows one recipe, one width and one beam; its records are read and their tables made as
they were published.
"""

from __future__ import annotations

from typing import Any

from fairseq_memtx.ground.errors import UserError

SCHEMA = 2
NUMBER = (int, float)
NONE = type(None)

# A type (or several), a dictionary of such, a list with one, `Maybe`, or in a dictionary `IfThere`.


class Maybe:
    """What may be None instead."""

    def __init__(self, fields: Any) -> None:
        self.fields = fields


class IfThere:
    """What may be missing: records made before it was measured, or where it is not measured."""

    def __init__(self, fields: Any) -> None:
        self.fields = fields


_SPEED = [
    {
        "batch": int,
        "lines": int,
        "seconds": [NUMBER],
        "words": int,
        "tokens": int,
        "length_ratio": NUMBER,
        "output_sha256": str,
        "identical_output": bool,
    }
]

_SCORES = {
    "lines": int,
    "bleu": {"score": NUMBER, "signature": str},
    "chrf": {"score": NUMBER, "signature": str},
    "chrf++": IfThere({"score": NUMBER, "signature": str}),
    "comet": IfThere({"score": NUMBER, "signature": str}),
    "length_ratio": NUMBER,
    "copy_bleu": NUMBER,
    "hypotheses_sha256": str,
}

_SEARCH = {
    "beam": int,
    "lenpen": NUMBER,
    "batch_size": int,
    "peak_memory_bytes": (int, NONE),
}

_TRAINING = {
    "updates": int,
    "epochs": NUMBER,
    "target_tokens": int,
    "seconds": NUMBER,
    "threads": int,
    "train_nll_loss": NUMBER,
    "valid_nll_loss": NUMBER,
    "averaged": [str],
    "curves": {"train_nll_loss": list, "valid_nll_loss": list},
}

_COMMON: dict[str, Any] = {
    "schema": int,
    "experiment": str,
    "decoder": str,
    "depth": int,
    "seed": int,
    "commit": str,
    "dirty": bool,
    "versions": dict,
    "hardware": {"cpu": str, "cores": int, "system": str, "device": str},
    "threads": int,
    "precision": str,
    "data": {
        "name": str,
        "test": str,
        "pairs": {"train": int, "valid": int, "test": int},
        "vocab_size": int,
        "sha256": str,
    },
    "model": {"parameters": int, "sizes": dict},
    "state": {"bytes_per_token": NUMBER, "bytes_per_source_token": NUMBER},
}

#: The fields of each schema.
SCHEMAS: dict[int, dict[str, Any]] = {
    1: {
        **_COMMON,
        "commands": {"experiment": str, "train": str, "generate": str, "measure": str},
        "training": _TRAINING,
        "search": _SEARCH,
        "scores": _SCORES,
        "speed": _SPEED,
    },
    2: {
        **_COMMON,
        "run": str,
        "recipe": str,
        "width": int,
        "commands": {"experiment": str, "train": str},
        "learning": {
            "lr": NUMBER,
            "warmup_updates": int,
            # what `search` tried: see scripts.experiment.stages.search
            "search": Maybe(
                {
                    "updates": int,
                    "seed": int,
                    "recipe": str,
                    "tried": [
                        {
                            "lr": NUMBER,
                            "warmup_updates": int,
                            "valid_nll_loss": (*NUMBER, NONE),
                            "processor_seconds": (*NUMBER, NONE),
                        }
                    ],
                }
            ),
        },
        "training": {
            **_TRAINING,
            "valid_loss": NUMBER,
            "best_valid_loss": NUMBER,
            "patience": int,
            "validations_since_best": int,
            "processor_seconds": (*NUMBER, NONE),
            "peak_memory_bytes": (int, NONE),
            "starts": [{"commit": str, "dirty": bool}],
        },
        # one for each beam, the main one first; `difference` is that to the Transformer
        "decoding": [
            {
                **_SEARCH,
                "commands": {"generate": str, "measure": str},
                "scores": _SCORES,
                "speed": _SPEED,
                "difference": Maybe({"baseline": str, "difference": NUMBER, "p_value": NUMBER}),
            }
        ],
    },
}


def validate(record: object, fields: Any = None, where: str = "record") -> None:
    """Raise :class:`UserError` unless the record has exactly the fields of its schema."""
    if fields is None:
        fields = SCHEMAS[schema_of(record, where)]
    if isinstance(fields, Maybe):
        if record is not None:
            validate(record, fields.fields, where)
    elif isinstance(fields, dict):
        _validate_object(record, fields, where)
    elif isinstance(fields, list):
        if not isinstance(record, list) or not record:
            raise UserError(f"`{where}` is {record!r:.40}: it has to be a list that is not empty")
        for index, item in enumerate(record):
            validate(item, fields[0], f"{where}[{index}]")
    elif not _has_type(record, fields):
        raise UserError(f"`{where}` is {record!r:.40}: it has to be {_named(fields)}")


def _validate_object(record: object, fields: dict, where: str) -> None:
    if not isinstance(record, dict):
        raise UserError(f"`{where}` is {record!r:.40}: it has to be an object")
    required = {name for name, kind in fields.items() if not isinstance(kind, IfThere)}
    for name in sorted((required - record.keys()) | (record.keys() - fields.keys())):
        problem = "is missing" if name in fields else "is not in the schema"
        raise UserError(f"`{where}.{name}` {problem}")
    for name, value in record.items():
        kind = fields[name]
        validate(value, kind.fields if isinstance(kind, IfThere) else kind, f"{where}.{name}")


def _has_type(value: object, kind: Any) -> bool:
    if isinstance(value, bool):  # Python counts it as an int
        return kind is bool
    return isinstance(value, kind)


def _named(kind: Any) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(single.__name__ for single in kinds)


def schema_of(record: object, where: str = "record") -> int:
    """The schema that a record says it is of.

    Raises:
        UserError: none, or one that is not known here.
    """
    found = record.get("schema") if isinstance(record, dict) else None
    if found not in SCHEMAS:
        known = ", ".join(map(str, SCHEMAS))
        raise UserError(f"`{where}.schema` is {found!r}, which is none of those known: {known}")
    assert isinstance(found, int)
    return found
