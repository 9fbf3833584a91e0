"""Made-up records: valid, and plain enough to check by hand."""

import copy
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.files import write_json
from scripts.experiment.folders import Run


def write_old(record: dict, folder: Path) -> Path:
    """Write a record of schema 1 under the name that it was published by."""
    run = Run(record["decoder"], record["depth"], record["seed"])
    write_json(folder / f"{run.name}.json", record)
    return folder / f"{run.name}.json"


def record(decoder: str = "feedback", depth: int = 1, seed: int = 1, bleu: float = 30.0) -> dict:
    """A record of schema 1, of a model that translates 1,000 words in 10, 8 and 12.5 seconds."""
    speed = {
        "batch": 1,
        "lines": 100,
        "seconds": [10.0, 8.0, 12.5],
        "words": 1000 * depth,
        "tokens": 1500,
        "length_ratio": 0.98,
        "output_sha256": "0" * 64,
        "identical_output": True,
    }
    curve = [[100, 6.0], [200, 4.0 - depth / 10]]
    return {
        "schema": 1,
        "experiment": "made-up",
        "decoder": decoder,
        "depth": depth,
        "seed": seed,
        "commit": "0123456789abcdef",
        "dirty": False,
        "commands": {"experiment": "e", "train": "t", "generate": "g", "measure": "m"},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "hardware": {"cpu": "Slide rule", "cores": 2, "system": "Linux x", "device": "cpu"},
        "threads": 1,
        "precision": "float32",
        "data": {
            "name": "made-up",
            "test": "test",
            "pairs": {"train": 29000, "valid": 1014, "test": 1000},
            "vocab_size": 6008,
            "sha256": "1" * 64,
        },
        "model": {"parameters": 3_884_544, "sizes": {"embed_dim": 256}},
        "training": {
            "updates": 8960,
            "epochs": 16.0,
            "target_tokens": 7_000_000,
            "seconds": 3600.0,
            "threads": 1,
            "train_nll_loss": 2.5,
            "valid_nll_loss": 3.0,
            "averaged": ["checkpoint15.pt", "checkpoint16.pt"],
            "curves": {"train_nll_loss": curve, "valid_nll_loss": curve},
        },
        "search": {"beam": 5, "lenpen": 1.0, "batch_size": 32, "peak_memory_bytes": 2**29},
        "scores": {
            "lines": 1000,
            "bleu": {"score": bleu, "signature": "nrefs:1|tok:13a"},
            "chrf": {"score": 55.5, "signature": "nrefs:1|nc:6"},
            "length_ratio": 1.01,
            "copy_bleu": 0.48,
            "hypotheses_sha256": "2" * 64,
        },
        "speed": [speed, {**speed, "batch": 32, "words": 9000 * depth}],
        "state": {"bytes_per_token": 2048.0, "bytes_per_source_token": 2048.0},
    }


def grid_record(run: Run, bleu: float = 30.0, difference: dict | None = None) -> dict:
    """A record of the present schema, of the same model with two beams, the second one faster."""
    old = copy.deepcopy(record(run.decoder, run.depth, run.seed, bleu))
    moved: dict[str, Any] = {name: old.pop(name) for name in ("search", "scores", "speed")}
    commands = {name: old["commands"].pop(name) for name in ("generate", "measure")}
    first = {
        **moved.pop("search"),
        "commands": commands,
        **moved,
        "difference": difference,
    }
    greedy = copy.deepcopy({**first, "beam": 1})
    greedy["scores"]["bleu"]["score"] -= 1.0
    for speed in greedy["speed"]:
        speed["words"] *= 2
    tried = {"lr": 2e-3, "warmup_updates": 200, "processor_seconds": 60.0}
    outcomes = [(2e-3, 3.25), (4e-3, None)]
    training = {
        "valid_loss": 4.0,
        "best_valid_loss": 4.0,
        "patience": 3,
        "validations_since_best": 3 if run.decoder == "feedback" else 1,
        "processor_seconds": 7000.0,
        "peak_memory_bytes": 2**29,
        "starts": [{"commit": "0123456789abcdef", "dirty": False}],
    }
    return {
        **old,
        "schema": 2,
        "run": run.name,
        "recipe": run.recipe,
        "width": run.width or 256,
        "learning": {
            "lr": 2e-3,
            "warmup_updates": 200,
            "search": {
                "updates": 500,
                "seed": 1,
                "recipe": "plain",
                "tried": [{**tried, "lr": lr, "valid_nll_loss": loss} for lr, loss in outcomes],
            },
        },
        "training": {**old["training"], **training},
        "decoding": [first, greedy],
    }


def course_record() -> dict:
    """The course of a curriculum of two corpora: the short one comes first."""
    parts = [
        {
            "updates": [10 * number, 10 * number + 10],
            "longest_target": 5 + 10 * number,
            "mean_target": 4.0 + 5 * number,
            "pairs": {"long": 25 * number, "short": 100 - 25 * number},
            "target_subwords": {"long": 500 * number, "short": 500 - 100 * number},
        }
        for number in range(4)
    ]
    return {"command": "c", "commit": "0" * 40, "dirty": False, "updates": 40, "parts": parts}
