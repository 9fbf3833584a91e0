"""The record of a run: one JSON file with all that its row in a table rests on.

Times are in seconds, memory in bytes, losses in bits for each subword. A record names no folder of
the machine it was made on.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of, write_json
from fairseq_memtx.ground.versions import versions
from scripts.experiment import commands, prepare, stages
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.shared.kept import read_json
from scripts.shared.provenance import git_state, hardware

SCHEMA = 1
NUMBER = (int, float)

#: What a record holds: a type (or several), a dictionary of such, or a list with one.
FIELDS: dict[str, Any] = {
    "schema": int,
    "experiment": str,
    "decoder": str,
    "depth": int,
    "seed": int,
    "commit": str,
    "dirty": bool,
    "commands": {"experiment": str, "train": str, "generate": str, "measure": str},
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
    "training": {
        "updates": int,
        "epochs": NUMBER,
        "target_tokens": int,
        "seconds": NUMBER,
        "threads": int,
        "train_nll_loss": NUMBER,
        "valid_nll_loss": NUMBER,
        "averaged": [str],
        "curves": {"train_nll_loss": list, "valid_nll_loss": list},
    },
    "search": {
        "beam": int,
        "lenpen": NUMBER,
        "batch_size": int,
        "peak_memory_bytes": (int, type(None)),
    },
    "scores": {
        "lines": int,
        "bleu": {"score": NUMBER, "signature": str},
        "chrf": {"score": NUMBER, "signature": str},
        "length_ratio": NUMBER,
        "copy_bleu": NUMBER,
        "hypotheses_sha256": str,
    },
    "speed": [
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
    ],
    "state": {"bytes_per_token": NUMBER, "bytes_per_source_token": NUMBER},
}


def validate(record: object, fields: Any = None, where: str = "record") -> None:
    """Raise :class:`UserError` unless the record has exactly the fields of its schema."""
    fields = FIELDS if fields is None else fields
    if isinstance(fields, dict):
        _validate_object(record, fields, where)
    elif isinstance(fields, list):
        if not isinstance(record, list) or not record:
            raise UserError(f"`{where}` must be a list that is not empty, but is {record!r:.40}")
        for index, item in enumerate(record):
            validate(item, fields[0], f"{where}[{index}]")
    elif not _has_type(record, fields):
        raise UserError(f"`{where}` must be {_named(fields)}, but is {record!r:.40}")


def _validate_object(record: object, fields: dict, where: str) -> None:
    if not isinstance(record, dict):
        raise UserError(f"`{where}` must be an object, but is {record!r:.40}")
    for name in sorted(fields.keys() ^ record.keys()):
        problem = "is missing" if name in fields else "is not in the schema"
        raise UserError(f"`{where}.{name}` {problem}")
    for name, kind in fields.items():
        validate(record[name], kind, f"{where}.{name}")


def _has_type(value: object, kind: Any) -> bool:
    if isinstance(value, bool):  # Python counts it as an int
        return kind is bool
    return isinstance(value, kind)


def _named(kind: Any) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(single.__name__ for single in kinds)


def write(record: dict, folder: Path) -> Path:
    """Write a valid record under its run's name."""
    validate(record)
    path = folder / f"{Run(record['decoder'], record['depth'], record['seed']).name}.json"
    write_json(path, record)
    return path


def read_all(folder: Path) -> list[dict]:
    """All records of an experiment, by decoder, depth and seed.

    Raises:
        UserError: none there, damaged, or not of the schema.
    """
    found = read_json(folder)
    for name, record in found.items():
        validate(record, where=name)
    return sorted(found.values(), key=lambda r: (r["decoder"], r["depth"], r["seed"]))


def assemble(
    experiment: Experiment, folder: ExperimentFolder, run: Run, measured: dict, command: str
) -> dict:
    """The record of one run from what its stages left; ``measured`` is its part of the speed."""
    run_folder = folder.run(run)
    settings = json.loads(run_folder.settings.read_bytes())
    scores = json.loads(run_folder.result("score").read_bytes())
    hypotheses = stages.output_hash(run_folder, "generate", run_folder.hypotheses)
    commit, dirty = git_state()
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "decoder": run.decoder,
        "depth": run.depth,
        "seed": run.seed,
        "commit": commit,
        "dirty": dirty,
        "commands": {
            "experiment": command,
            "train": settings["train_command"],
            "generate": generate_line(experiment, folder, run),
            "measure": measured["command"],
        },
        "versions": {**versions(), "sacrebleu": metadata.version("sacrebleu")},
        "hardware": hardware(measured["device"]),
        "threads": measured["threads"],
        "precision": measured["precision"],
        "data": describe_data(experiment, folder),
        "model": describe_model(experiment, folder, run),
        "training": describe_training(folder, run, settings["threads"]),
        "search": describe_search(experiment, folder, run),
        "scores": {**scores, "hypotheses_sha256": hypotheses},
        "speed": measured["speed"],
        "state": measured["state"],
    }


def generate_line(experiment: Experiment, folder: ExperimentFolder, run: Run) -> str:
    """The line of fairseq-generate as it is published."""
    command = commands.generate_command(
        experiment, folder.data_bin, folder.run(run).averaged, prepare.tokenizer(folder)
    )
    return shlex.join(commands.told(command, folder.path))


def describe_data(experiment: Experiment, folder: ExperimentFolder) -> dict:
    """Name, line counts and hash of the prepared data."""
    prepared = prepare.read_prepared(folder)
    return {
        "name": experiment.name,
        "test": Path(experiment.data.test).name or "test",
        "pairs": prepared["pairs"],
        "vocab_size": prepared["vocab_size"],
        "sha256": hash_of(prepared["outputs"]),
    }


def describe_model(experiment: Experiment, folder: ExperimentFolder, run: Run) -> dict:
    """Parameters and sizes."""
    training = json.loads(folder.run(run).result("train").read_bytes())
    return {"parameters": training["parameters"], "sizes": dataclasses.asdict(experiment.model)}


def describe_training(folder: ExperimentFolder, run: Run, threads: int) -> dict:
    """Updates, tokens, time and losses of a training, and what was averaged."""
    run_folder = folder.run(run)
    training = json.loads(run_folder.result("train").read_bytes())
    averaged = stages.require_stamp(run_folder, "average")["result"]
    kept = ("updates", "epochs", "target_tokens", "train_nll_loss", "valid_nll_loss", "curves")
    return {
        **{name: training[name] for name in kept},
        "seconds": averaged["training_seconds"],
        "threads": threads,
        "averaged": averaged["checkpoints"],
    }


def describe_search(experiment: Experiment, folder: ExperimentFolder, run: Run) -> dict:
    """The beam search, and the peak memory of fairseq-generate's process with this model alone."""
    decoding = experiment.decoding
    generated = stages.require_stamp(folder.run(run), "generate")["result"]
    return {
        "beam": decoding.beam,
        "lenpen": decoding.lenpen,
        "batch_size": decoding.batch_size,
        "peak_memory_bytes": generated["peak_memory_bytes"],
    }
