"""Start a memory decoder from a checkpoint of a Transformer that was trained in parallel."""

import dataclasses
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils, utils
from fairseq.data import Dictionary
from fairseq.distributed import utils as distributed_utils
from torch import nn

from ..config import WarmStartOptions, flag
from ..ground.errors import UserError
from ..ground.files import write_bytes
from ..modules.weight_transfer import (
    LayerPlan,
    Report,
    choose_layers,
    choose_memory,
    choose_pairs,
    transfer,
)

logger = logging.getLogger(__name__)

REPORT_NAME = "warm_start.json"

#: Settings that change what the weights mean, but not their sizes.
SAME_SETTINGS = (
    "encoder_attention_heads",
    "decoder_attention_heads",
    "encoder_normalize_before",
    "decoder_normalize_before",
    "encoder_learned_pos",
    "decoder_learned_pos",
    "activation_fn",
    "no_scale_embedding",
    "layernorm_embedding",
)


def start_from(options: WarmStartOptions, model: nn.Module, settings: Any, task: Any) -> Report:
    """Overwrite the weights of `model`, just built, as `options` say; report what was done.

    The report is logged, and written in full to `warm_start.json` in the folder of checkpoints.

    Args:
        options: the checkpoint and the layers to take.
        model: one of our models.
        settings: fairseq's settings of the model.
        task: the translation task, for its dictionaries and the folder.

    Raises:
        UserError: where the checkpoint is none of a fitting Transformer.
    """
    path = options.init_from
    state = load_transformer(path)
    compare_settings(path, state["cfg"]["model"], settings, settings_that_count(model))
    compare_dictionaries(path, state["cfg"]["task"], task)
    theirs = state["model"]
    try:
        plan = make_plan(options, theirs, model)
        weights = {name: theirs[name] for name in theirs if not _is_no_weight(name)}
        report = transfer(weights, model.named_parameters(remove_duplicate=False), plan)
    except ValueError as error:
        raise UserError(f"{flag('init_from')} `{path}` {error}") from None
    _tell(path, state, plan, report)
    if distributed_utils.get_global_rank() == 0:
        write_report(os.path.join(task.cfg.save_dir, REPORT_NAME), path, plan, report)
    return report


def load_transformer(path: str) -> dict[str, Any]:
    """The checkpoint of a Transformer for translation, loaded safely.

    Raises:
        UserError: where there is none, or one of something else.
    """
    if not os.path.isfile(path):
        raise UserError(f"there is no file `{path}`: {flag('init_from')} has to be a checkpoint")
    # fairseq's loader brings older checkpoints up to date; torch refuses unsafe ones (`repairs`).
    state = checkpoint_utils.load_checkpoint_to_cpu(path)
    if f"{_first_layer('encoder')}.q_proj.weight" not in state["model"] or (
        f"{_first_layer('decoder')}.k_proj.weight" not in state["model"]
    ):
        raise UserError(
            f"{flag('init_from')} `{path}` is not a checkpoint of fairseq's Transformer for"
            " translation"
        )
    return state


def _first_layer(side: str) -> str:
    return f"{side}.layers.0.self_attn"


def _is_no_weight(name: str) -> bool:
    """Whether a Transformer's buffer has this name."""
    return name.endswith((".version", "._float_tensor"))


def settings_that_count(model: Any) -> tuple[str, ...]:
    """`SAME_SETTINGS`, but for the positions of an encoder or a decoder without absolute ones."""
    sides = {"encoder": model.encoder, "decoder": model.decoder}
    given_up = {f"{side}_learned_pos" for side, one in sides.items() if one.embed_positions is None}
    return tuple(name for name in SAME_SETTINGS if name not in given_up)


def compare_settings(path: str, theirs: Any, ours: Any, names: Iterable[str]) -> None:
    """Raise `UserError` where the settings of these names differ between there and here."""
    for name in names:
        there, here = _setting(theirs, name), _setting(ours, name)
        if there is not None and here is not None and there != here:
            raise UserError(
                f"--{name.replace('_', '-')} is {here}: it has to be {there}, as in"
                f" {flag('init_from')} `{path}`"
            )


def _setting(settings: Any, name: str) -> Any:
    if hasattr(settings, "get"):
        return settings.get(name)
    return getattr(settings, name, None)


def compare_dictionaries(path: str, their_task: Any, task: Any) -> None:
    """Raise `UserError` where a number stands for another subword here than there.

    A checkpoint does not hold its dictionaries: they are looked for beside it and in the data it
    was trained on.
    """
    sides = (("source", task.source_dictionary), ("target", task.target_dictionary))
    for side, ours in sides:
        # fairseq stores no language that it found by itself: it is then the one of this data
        language = f"{side}_lang"
        name = f"dict.{_setting(their_task, language) or _setting(task.cfg, language)}.txt"
        data = utils.split_paths(_setting(their_task, "data") or "")
        places = [os.path.dirname(path), *data[:1]]
        found = [place for place in places if os.path.isfile(os.path.join(place, name))]
        if not found:
            logger.warning(
                "the %s dictionary of %s (%s) was not found beside it, so that only its size could"
                " be compared", side, path, name,
            )  # fmt: skip
        elif Dictionary.load(os.path.join(found[0], name)) != ours:
            raise UserError(
                f"the {side} dictionary is not that of {flag('init_from')} `{path}`: prepare the"
                f" data with `{os.path.join(found[0], name)}`"
            )


def make_plan(options: WarmStartOptions, theirs: dict[str, Any], model: Any) -> LayerPlan:
    """Which layers feed which. Raises ValueError where they cannot."""
    num_theirs = 1 + max(
        int(name.split(".")[2]) for name in theirs if name.startswith("decoder.layers.")
    )
    num_ours = len(model.decoder.layers._modules)
    layers = choose_layers(options.init_layers, num_theirs, num_ours)
    plan = LayerPlan(layers, choose_memory(options.init_memory, layers, num_theirs))
    wiring = getattr(getattr(model.decoder, "memory", None), "wiring", None)
    if wiring is None or len(wiring.pairs) == 1:
        return plan
    pairs = choose_pairs(options.init_memory, layers, wiring.layers, num_theirs)
    return dataclasses.replace(plan, pairs=pairs)


def _tell(path: str, state: dict[str, Any], plan: LayerPlan, report: Report) -> None:
    updates = (state.get("optimizer_history") or [{}])[-1].get("num_updates", 0)
    logger.info("warm start from %s (update %s): %s", path, updates, report.summary())
    for ours, layer in enumerate(plan.layers):
        logger.info("warm start: decoder layer %d from their layer %d", ours, layer)
    for name, names in report.averaged.items():
        logger.info("warm start: %s is the average of %s", name, ", ".join(names))
    for name in report.initialised:
        logger.info("warm start: %s stays as initialised", name)


def write_report(path: str, source: str, plan: LayerPlan, report: Report) -> None:
    """Write the whole report as JSON, by way of a temporary name."""
    content = {"checkpoint": source, **dataclasses.asdict(plan), **dataclasses.asdict(report)}
    write_bytes(Path(path), (json.dumps(content, indent=2) + "\n").encode())
