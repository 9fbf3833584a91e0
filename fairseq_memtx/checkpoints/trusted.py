"""What a file may choose: architectures, tasks and the like that do nothing but compute.

fairseq builds whatever a checkpoint names from its registries, and some of what is registered there
loads other files, downloads models or starts programs. So a name must be on a list: our own, those
of fairseq's Transformer, and what the user adds by `MEMTX_ALLOW=lstm,fconv` in the environment or
has named on the command line.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from ..ground.errors import UserError
from ..ground.literals import literal
from . import settings

ALLOW = "MEMTX_ALLOW"

#: The models of fairseq that a file may choose, by the module of their class.
MODELS = ("fairseq.models.transformer", "fairseq.models.transformer_lm",
          "fairseq.models.transformer_align", "fairseq_memtx")  # fmt: skip
#: Everything else, by what names it.
LISTED: dict[str, frozenset[str]] = {
    "task": frozenset({"translation", "language_modeling"}),
    "criterion": frozenset({"cross_entropy", "label_smoothed_cross_entropy", "adaptive_loss",
                            "label_smoothed_cross_entropy_with_alignment"}),
    "tokenizer": frozenset({"moses", "nltk", "space"}),
    "bpe": frozenset({"sentencepiece", "subword_nmt", "fastbpe", "bytes", "byte_bpe",
                      "characters"}),
    "scoring": frozenset({"bleu", "sacrebleu", "chrf", "wer"}),
    "optimizer": frozenset({"adam", "sgd", "nag", "adagrad", "adadelta", "adamax", "adafactor",
                            "lamb", "cpu_adam", "composite"}),
    "lr_scheduler": frozenset({"fixed", "inverse_sqrt", "cosine", "polynomial_decay", "step",
                               "reduce_lr_on_plateau", "triangular", "tri_stage", "manual",
                               "pass_through"}),
    "simul_type": frozenset(),
}  # fmt: skip
#: Names under which `args`, or a task's own settings, name one of these.
ALSO = {"arch": "model", "eval_bleu_detok": "tokenizer"}

#: Settings that fairseq evaluates when they are text.
EVALUATED = re.compile(
    r"((encoder|decoder)_)?(xformers_att_config|layers)|(encoder|decoder)_attention"
    r"|adaptive_(softmax|input)_cutoff"
    r"|character_filters|\w+_betas|\w+_eps|wer_args|conv_\w*layers|(decoder|encoder)_\w+_list"
    r"|left_pad_\w+|pretrained|self_attention|project_input|gated_attention|downsample"
    r"|pipeline_(encoder_|decoder_)?(balance|devices)"
)
#: A language becomes a part of a file's name.
LANGUAGE = re.compile(r"[\w@.-]*", re.ASCII)

_allowed: ContextVar[frozenset[str]] = ContextVar("memtx_allowed", default=frozenset())


@contextlib.contextmanager
def allowing(names: frozenset[str]) -> Iterator[None]:
    """Let files choose these too meanwhile, since the user has chosen them himself."""
    token = _allowed.set(_allowed.get() | names)
    try:
        yield
    finally:
        _allowed.reset(token)


def check(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuse settings that name anything that is not on the lists, or text to be evaluated.

    Args:
        state: a loaded checkpoint, whose settings are `settings.plain` already.
        path: of the file, for messages.

    Raises:
        UserError: the message says what it names and how to allow it.
    """
    for kind, name in named(state):
        if not is_allowed(kind, name):
            raise UserError(
                f"`{path}` names the {kind} `{name}`, which no file may choose by itself:"
                f" set {ALLOW}={name} in the environment if you trust the file"
            )
    for section in (state.get("cfg"), state.get("args")):
        for name, value in settings.texts(section):
            _check_value(name, value, path)


def _check_value(name: str, value: Any, path: str | os.PathLike[str]) -> None:
    if not isinstance(value, str):
        return
    if EVALUATED.fullmatch(name) and not value.startswith("${"):
        try:
            literal(value)
        except UserError as error:
            raise UserError(f"`{path}` was not loaded: its setting `{name}` {error}") from None
    if name in ("source_lang", "target_lang") and not LANGUAGE.fullmatch(value):
        raise UserError(f"`{path}` was not loaded: its setting `{name}` names no language")


def named(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the settings name: its kind (`model`, `task` ...) and its name."""
    kinds = {"model", *LISTED}
    sections = settings.as_dict(state.get("cfg"))
    for section, values in sections.items():
        if section in kinds and isinstance(values, str):
            yield section, values
        name = settings.as_dict(values).get("_name")
        if section in kinds and name is not None:
            yield section, str(name)
        if section == "model" and values and not _names_model(values):
            yield "model", str(next(iter(settings.as_dict(values)), "nothing"))
    for holder in (sections, settings.as_dict(state.get("args"))):
        for key, value in settings.texts(holder):
            kind = ALSO.get(key, key)
            if kind in kinds and isinstance(value, str):
                yield kind, value


def _names_model(values: Any) -> bool:
    """Whether a model has a name; fairseq takes its only setting's for one otherwise."""
    return bool(settings.as_dict(values).get("_name") or settings.as_dict(values).get("arch"))


def names_in(cfg: Any) -> frozenset[str]:
    """What the user has named on the command line: `cfg` is fairseq's of a training."""
    found = set()
    for kind in ("model", *LISTED):
        section = cfg.get(kind)
        name = section if isinstance(section, str) else getattr(section, "_name", None)
        found |= {str(name), str(getattr(section, "arch", name))}
    return frozenset(found)


def is_allowed(kind: str, name: str) -> bool:
    """Whether a file may choose this."""
    asked = {word.strip() for word in os.environ.get(ALLOW, "").split(",")}
    return name in asked | _allowed.get() | LISTED.get(kind, frozenset()) or _is_ours(kind, name)


def _is_ours(kind: str, name: str) -> bool:
    """Whether it is registered by us, or a Transformer of fairseq's."""
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_REGISTRY

    registries = {kind: entry["registry"] for kind, entry in REGISTRIES.items()}
    registry = {
        **registries,
        "task": TASK_REGISTRY,
        "model": {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY},
    }.get(kind, {})
    module = getattr(registry.get(name), "__module__", "")
    modules = MODELS if kind == "model" else ("fairseq_memtx",)
    return any(module == one or module.startswith(one + ".") for one in modules)
