"""What is published of an experiment's runs: the table, BLEU against speed, training curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scripts.experiment import records
from scripts.shared import plots
from scripts.shared.tables import table

if TYPE_CHECKING:
    from scripts.shared.report import Figures


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The table, and what draws each plot; the records are checked first."""
    checked = records.read_all(folder)
    return table(checked), {
        "bleu_vs_speed": lambda: plots.bleu_against_speed(checked),
        "training_curves": lambda: plots.training_curves(checked),
    }
