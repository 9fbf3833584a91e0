"""The record of a run: one JSON file with all that its row in a table rests on.

Times are in seconds, memory in bytes, losses in bits for each subword (`valid_loss` is the
criterion's own, by which training is stopped). A record names no folder of the machine it was made
on.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of, write_json
from fairseq_memtx.ground.versions import versions
from fairseq_memtx.training_log import summarise
from scripts.experiment import commands
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.plan import Plan
from scripts.experiment.stages import prepare, stamps
from scripts.experiment.stages.generate import Generation
from scripts.experiment.stages.learning import read_search
from scripts.experiment.stages.record_schema import SCHEMA, schema_of, validate
from scripts.shared.kept import read_json
from scripts.shared.provenance import git_state, hardware


def write(record: dict, folder: Path) -> Path:
    """Write a valid record under its run's name."""
    validate(record)
    path = folder / f"{record['run']}.json"
    write_json(path, record)
    return path


def read_all(folder: Path) -> list[dict]:
    """All records of an experiment: by decoder, depth and seed, within a recipe and a width.

    Raises:
        UserError: none there, damaged, not of their schema, or of several.
    """
    found = read_json(folder)
    for name, record in found.items():
        validate(record, where=name)
    if len({record["schema"] for record in found.values()}) > 1:
        raise UserError(
            f"`{folder}` has records of several schemas: keep those of an earlier one elsewhere"
        )
    return sorted(found.values(), key=_place)


def _place(record: dict) -> tuple:
    outer = () if record["schema"] == 1 else (record["recipe"], -record["width"])
    return (*outer, record["decoder"], record["depth"], record["seed"])


def check_schema(folder: Path) -> None:
    """Refuse to add to records of an earlier schema, which would no longer be one table.

    Raises:
        UserError: there are such records.
    """
    if folder.is_dir() and any(folder.glob("*.json")):
        first = next(iter(read_json(folder).values()))
        if schema_of(first, str(folder)) != SCHEMA:
            raise UserError(
                f"`{folder}` has records of an earlier schema: move or remove them, or choose"
                " another --results-dir"
            )


def assemble(plan: Plan, run: Run, measured: Sequence[dict]) -> dict:
    """The record of one run from what its stages left.

    ``measured`` is what was measured with each beam, the main one first; see `SpeedStage`.
    """
    experiment, folder = plan.experiment, plan.folder
    settings = json.loads(folder.run(run).settings.read_bytes())
    commit, dirty = git_state()
    training = describe_training(folder, run, settings)
    first = measured[0]
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "run": run.name,
        "decoder": run.decoder,
        "depth": run.depth,
        "width": experiment.model.at_width(run.width).embed_dim,
        "recipe": run.recipe,
        "seed": run.seed,
        "commit": commit,
        "dirty": dirty or any(start["dirty"] for start in training["starts"]),
        "commands": {"experiment": plan.command, "train": settings["train_command"]},
        "versions": {**versions(), "sacrebleu": metadata.version("sacrebleu")},
        "hardware": hardware(first["device"]),
        "threads": plan.threads,
        "precision": first["precision"],
        "data": describe_data(experiment, folder),
        "model": describe_model(experiment, folder, run),
        "learning": describe_learning(experiment, folder, run, settings),
        "training": training,
        "decoding": [describe_decoding(experiment, folder, run, one) for one in measured],
        "state": first["state"],
    }


def describe_learning(
    experiment: Experiment, folder: ExperimentFolder, run: Run, settings: dict
) -> dict:
    """The learning rate and warm-up that the run had, and the search that chose them."""
    training = settings["experiment"]["training"]
    found = read_search(folder, run) if experiment.search is not None else None
    kept = ("updates", "seed", "recipe", "tried")
    return {
        "lr": training["lr"],
        "warmup_updates": training["warmup_updates"],
        "search": found and {name: found[name] for name in kept},
    }


def describe_decoding(
    experiment: Experiment, folder: ExperimentFolder, run: Run, measured: dict
) -> dict:
    """The search with one beam, what its translations are worth, and its speed."""
    generation = Generation(experiment, folder, run, measured["beam"])
    decoding = generation.experiment.decoding
    generated = stamps.require_stamp(generation.folder, generation.stage)["result"]
    told = commands.told(generation.command, folder.path)
    return {
        "beam": decoding.beam,
        "lenpen": decoding.lenpen,
        "batch_size": decoding.batch_size,
        "peak_memory_bytes": generated["peak_memory_bytes"],
        "commands": {"generate": shlex.join(told), "measure": measured["command"]},
        "scores": {
            **generation.read_scores(),
            "hypotheses_sha256": stamps.output_hash(
                generation.folder, generation.stage, generation.hypotheses
            ),
        },
        "speed": measured["speed"],
        "difference": measured["difference"],
    }


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
    sizes = dataclasses.asdict(experiment.model.at_width(run.width))
    return {"parameters": training["parameters"], "sizes": sizes}


def describe_training(folder: ExperimentFolder, run: Run, settings: dict) -> dict:
    """Updates, tokens, time and losses of a training, and what was averaged."""
    run_folder = folder.run(run)
    training = json.loads(run_folder.result("train").read_bytes())
    training = {"peak_memory_bytes": None, **training, **summarise(run_folder.train_log)}
    averaged = stamps.require_stamp(run_folder, "average")["result"]
    kept = ["updates", "epochs", "target_tokens", "train_nll_loss", "valid_nll_loss", "curves"]
    kept += ["valid_loss", "best_valid_loss", "validations_since_best", "processor_seconds"]
    kept += ["peak_memory_bytes"]
    starts = [json.loads(line) for line in run_folder.starts.read_text("utf-8").splitlines()]
    return {
        **{name: training[name] for name in kept},
        "seconds": averaged["training_seconds"],
        "threads": settings["threads"],
        "patience": settings["experiment"]["training"]["patience"],
        "averaged": averaged["checkpoints"],
        "starts": starts,
    }
