"""Made-up records: valid, and plain enough to check by hand."""

from scripts.experiment.records import SCHEMA


def record(decoder: str = "feedback", depth: int = 1, seed: int = 1, bleu: float = 30.0) -> dict:
    """A record of a model that translates 1,000 words in 10, 8 and 12.5 seconds."""
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
        "schema": SCHEMA,
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
