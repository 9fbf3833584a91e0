"""The learned mixture in fairseq's training logs, and so in its JSON lines and TensorBoard."""

from collections.abc import Sequence

from fairseq.logging import metrics
from torch import Tensor

from ..modules.mixture import LayerMixture

NAME = "mixture_{}"
CHANNEL_NAME = "mixture_{}_{}"  # of several channels: the channel, the state
PRIORITY = 220  # after the losses and the number of updates, before the rate and the norm


def log_mixture(
    mixture: LayerMixture, states: Sequence[Tensor] = (), padding_mask: Tensor | None = None
) -> None:
    """Log the weight of each of the L + 1 states, as this update finds it; none of fixed mixtures.

    To be called in an update's forward. The newest value counts, so that repeated batches and
    dummy ones change nothing, and ranks agree. Of a routed mixture it is the mean over the words
    of the newest batch, of which each rank has its own. The values stay on their device: fairseq
    reads them when it prints a line.

    Args:
        mixture: it.
        states: of all layers, `(T, B, C)` each; for a routed mixture.
        padding_mask: `(B, T)`, True at padding, or None.
    """
    if not mixture.is_learned:
        return
    shares = mixture.mean_shares(states, padding_mask).float()
    for channel, weights in enumerate(shares.unbind()):
        for number, weight in enumerate(weights.unbind()):
            name = NAME.format(number)
            if len(shares) > 1:
                name = CHANNEL_NAME.format(channel, number)
            metrics.log_scalar(name, weight, weight=0, priority=PRIORITY, round=4)
