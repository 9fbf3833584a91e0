"""The learned mixture in fairseq's training logs, and so in its JSON lines and TensorBoard."""

from fairseq.logging import metrics

from ..modules.mixture import LayerMixture

NAME = "mixture_{}"
PRIORITY = 220  # after the losses and the number of updates, before the rate and the norm


def log_mixture(mixture: LayerMixture) -> None:
    """Log the weight of each of the L + 1 states, as this update finds it; none of fixed mixtures.

    To be called in an update's forward. The newest value counts, so that repeated batches and
    dummy ones change nothing, and ranks agree. The values stay on their device: fairseq reads
    them when it prints a line.
    """
    if not mixture.is_learned:
        return
    for number, weight in enumerate(mixture.probs().detach().float().unbind()):
        metrics.log_scalar(NAME.format(number), weight, weight=0, priority=PRIORITY, round=4)
