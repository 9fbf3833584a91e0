"""Lets the metric that chooses the best checkpoint be there at every validation.

Stock logs no BLEU where nothing was generated, and takes any name for `--best-checkpoint-metric`:
both end in a KeyError at the first validation, before anything is saved. Here BLEU is 0 then, and a
metric that validation does not give is refused before training begins. May go once fairseq logs it,
and looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ground.errors import UserError
from .wrapping import wrap


def apply() -> None:
    """Wrap what logs the metrics of translations, and what begins a training."""
    from fairseq import checkpoint_utils
    from fairseq.tasks.translation import TranslationTask

    wrap(TranslationTask, "reduce_metrics", _log_bleu)
    wrap(checkpoint_utils, "load_checkpoint", _check_at_start)


def _log_bleu(stock: Callable[..., Any], task: Any, logging_outputs: Any, criterion: Any) -> None:
    stock(task, logging_outputs, criterion)
    logs = [log for log in logging_outputs if "_bleu_totals_0" in log]
    if not logs or sum(float(log["_bleu_totals_0"]) for log in logs) > 0:
        return
    import numpy as np
    from fairseq.logging import metrics
    from fairseq.tasks.translation import EVAL_BLEU_ORDER

    for name in ("_bleu_counts", "_bleu_totals"):
        metrics.log_scalar(name, np.zeros(EVAL_BLEU_ORDER))
    metrics.log_scalar("_bleu_sys_len", 0)
    metrics.log_scalar("_bleu_ref_len", sum(float(log["_bleu_ref_len"]) for log in logs))
    metrics.log_derived("bleu", _bleu)


def _bleu(meters: Any) -> float:
    """fairseq's, over all batches: the first that logs it computes it."""
    from sacrebleu.metrics import BLEU

    counts, totals = (
        [int(x) for x in meters[name].sum] for name in ("_bleu_counts", "_bleu_totals")
    )
    system, reference = (int(meters[name].sum) for name in ("_bleu_sys_len", "_bleu_ref_len"))
    found = BLEU.compute_bleu(counts, totals, system, reference, smooth_method="exp")
    return round(found.score, 2)


def _check_at_start(stock: Callable[..., Any], cfg: Any, trainer: Any, **how: Any) -> Any:
    loaded = stock(cfg, trainer, **how)
    check_metric(trainer)
    return loaded


def check_metric(trainer: Any) -> None:
    """Validate one batch, unless the metric is known, and see what it gives.

    Raises:
        UserError: where it does not give the metric that chooses the best checkpoint.
    """
    metric, data = trainer.cfg.checkpoint.best_checkpoint_metric, trainer.cfg.dataset
    if metric == "loss" or data.disable_validation:
        return
    if metric == "bleu" and hasattr(trainer.cfg.task, "eval_bleu"):
        if not trainer.cfg.task.eval_bleu:
            raise UserError(
                "--best-checkpoint-metric is bleu, which --eval-bleu computes: give that flag too"
            )
        return
    given = _given(trainer, "valid" if data.combine_valid_subsets else data.valid_subset)
    if metric not in given:
        raise UserError(
            f"--best-checkpoint-metric is {metric}, which validation does not give: choose one of"
            f" {', '.join(sorted(given))}"
        )


def _given(trainer: Any, subsets: str) -> set[str]:
    """The names of what one batch of the first validation set gives."""
    import torch
    from fairseq.logging import metrics

    batches = trainer.get_valid_iterator(subsets.split(",")[0])
    batches = batches.next_epoch_itr(shuffle=False, set_dataset_epoch=False)
    with torch.random.fork_rng(), metrics.aggregate(new_root=True) as found:
        for sample in batches:
            trainer.valid_step(sample)
            break
    return {"num_updates", *found.get_smoothed_values()}
