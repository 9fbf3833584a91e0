"""The preparing stage: runs data_prep for an experiment, and says which data came of it."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from fairseq_memtx.commands.hypotheses import read_lines
from fairseq_memtx.ground import processes, shell
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import hash_of
from scripts.experiment import commands
from scripts.experiment.configs import Experiment
from scripts.experiment.folders import ExperimentFolder, Run

logger = logging.getLogger(__name__)


def prepare(experiment: Experiment, folder: ExperimentFolder, corpora: Path | None) -> None:
    """Run data_prep, which does only what is not done yet; its output goes to our terminal."""
    if experiment.data.needs_corpora:
        corpora = find_corpora(experiment, corpora)
    command = commands.prepare_command(experiment, folder.data, corpora)
    logger.info("prepare: %s", shell.shell_line(command))
    status = processes.run_visibly(shell.executable(command))
    if status != 0:
        raise UserError(f"preparing the data failed: `{shell.shell_line(command)}`")


def find_corpora(experiment: Experiment, given: Path | None) -> Path:
    """The folder of text: ``--corpora``, else $MEMTX_CORPORA; checked to hold what is needed."""
    name = given or os.environ.get("MEMTX_CORPORA")
    if not name:
        raise UserError(
            f"experiment `{experiment.name}` needs text: give its folder by --corpora or"
            " $MEMTX_CORPORA"
        )
    corpora = Path(name).resolve()
    data = experiment.data
    prefixes = commands.train_prefixes(experiment, corpora)
    prefixes += [corpora / data.valid, corpora / data.test]
    for prefix in prefixes:
        for language in (data.source_lang, data.target_lang):
            plain = prefix.with_name(f"{prefix.name}.{language}")
            if not plain.exists() and not plain.with_name(plain.name + ".gz").exists():
                raise UserError(
                    f"the corpora folder holds neither `{plain}` nor `{plain.name}.gz`: `memtx"
                    " prepare fetch` gets and checks public texts"
                )
    return corpora


def read_prepared(folder: ExperimentFolder, run: Run | None = None) -> dict:
    """data_prep's account of the prepared data; with a run, of those that it is trained on."""
    data = folder.data if run is None else folder.data_of(run)
    path = data / "prepared.json"
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"`{data}` holds no prepared data: run the stage `prepare` first") from None
    except ValueError as error:
        raise UserError(f"`{path}` is damaged, it is no JSON: {error}") from error


def data_hash(folder: ExperimentFolder, run: Run | None = None) -> str:
    """One hash for the contents of all files of those data."""
    return hash_of(read_prepared(folder, run)["outputs"])


def tokenizer(folder: ExperimentFolder) -> str:
    """The tokeniser to undo in translations: ``moses`` or ``none``."""
    return read_prepared(folder).get("options", {}).get("tokenizer", "none")


def check_text(folder: ExperimentFolder, experiment: Experiment) -> None:
    """Make sure that the references are there, one line for each pair of the test set."""
    pairs = read_prepared(folder)["pairs"]["test"]
    for language in (experiment.data.source_lang, experiment.data.target_lang):
        path = folder.reference("test", language)
        if (lines := len(read_lines(path))) != pairs:
            raise UserError(f"`{path}` has {lines} lines instead of {pairs}")
