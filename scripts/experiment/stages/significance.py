"""Whether a decoder's BLEU differs from the Transformer's: the paired bootstrap of `measure`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from fairseq_memtx.commands import score
from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground.files import sha256_of, write_json
from fairseq_memtx.ground.stamps import Stamps
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run
from scripts.experiment.recipes import RECIPES
from scripts.experiment.stages.generate import Generation

logger = logging.getLogger(__name__)


def baseline_of(run: Run, runs: Sequence[Run]) -> Run | None:
    """The Transformer of the same sizes and seed, trained by the same recipe or, after a warm
    start, the one that it began from; None where it is not among the runs.
    """
    recipe = RECIPES[run.recipe].begins_from or run.recipe
    baseline = replace(run, decoder="transformer", recipe=recipe)
    return baseline if baseline in runs and baseline != run else None


def compare(
    experiment: Experiment, folder: ExperimentFolder, run: Run, runs: Sequence[Run], beam: int
) -> dict | None:
    """The difference in BLEU to the run's baseline and its p-value; None without a baseline."""
    baseline = baseline_of(run, runs)
    if baseline is None:
        return None
    own = Generation(experiment, folder, run, beam)
    other = Generation(experiment, folder, baseline, beam)
    files = {"own": own.hypotheses, "other": other.hypotheses, "reference": own.reference}
    inputs = {name: sha256_of(path) for name, path in files.items()}
    result = own.folder.result(f"significance-beam{beam}")

    def work() -> dict:
        logging.getLogger("sacrebleu").setLevel(logging.WARNING)
        texts = [read_lines(files[name]) for name in ("other", "own", "reference")]
        write_json(result, {"baseline": baseline.name, **score.compare(*texts)})
        return {}

    Stamps(own.folder.path).run(f"significance-beam{beam}", inputs, [result], work)
    found = json.loads(result.read_bytes())
    logger.info(
        "%s: BLEU %+.2f against %s, p = %.3f",
        own.name, found["difference"], found["baseline"], found["p_value"],
    )  # fmt: skip
    return found
