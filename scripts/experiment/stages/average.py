"""The experiment's stage that averages checkpoints."""

from fairseq_memtx.commands.average import average
from fairseq_memtx.ground.stamps import Stamps
from scripts.experiment.folders import RunFolder
from scripts.experiment.stages import stamps


def average_run(folder: RunFolder, last: int) -> None:
    """The experiment's stage: average the ``last`` checkpoints of a finished training."""
    inputs = {"training": stamps.require_stamp(folder, "train")["inputs"], "last": last}

    def work() -> dict:
        return average([folder.checkpoints], folder.averaged, last=last, fewer=True)

    Stamps(folder.path).run("average", inputs, [folder.averaged], work)
