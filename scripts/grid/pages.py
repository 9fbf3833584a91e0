"""What is published of an experiment's runs: the page of tables, and the plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.experiment import course
from scripts.experiment.stages import records
from scripts.grid import page
from scripts.grid import plots as grid_plots
from scripts.shared import plots
from scripts.shared.tables import table

if TYPE_CHECKING:
    from scripts.shared.report import Figures


def pages(folder: Path, found: list[dict]) -> tuple[str, Figures]:
    """The page, and what draws each plot; the records are checked first."""
    checked = records.read_all(folder)
    if checked[0]["schema"] == 1:
        return table(checked), {
            "bleu_vs_speed": lambda: plots.bleu_against_speed(checked),
            "training_curves": lambda: plots.training_curves(checked),
        }
    the_course = read_course(folder)
    figures: Figures = {
        "bleu_vs_speed": lambda: grid_plots.bleu_against_speed(checked),
        "training_curves": lambda: grid_plots.training_curves(checked),
    }
    if the_course is not None:
        figures["curriculum"] = lambda: course.figure(the_course)
    return page.page(checked, the_course), figures


def read_course(folder: Path) -> dict | None:
    """What was noted of the curriculum, beside the folder of records; None where there was none."""
    path = folder.parent / course.FILE
    return json.loads(path.read_bytes()) if path.is_file() else None
