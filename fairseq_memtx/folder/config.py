"""`config.json` of a model's folder: what the model is, in plain values, each of them checked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..decoders import DECODERS
from ..ground.errors import UserError
from ..ground.files import read_json
from ..ground.text import TextSteps
from ..plain.shapes import DecoderShape, ModelShape, Shape, check_one_of, check_switch
from .names import FORMAT, READ

PRECISIONS = ("float32", "bfloat16", "int8")
#: Options of a search that a folder may set, by their types.
SEARCH: dict[str, type] = {"beam": int, "lenpen": float, "max_len_a": float, "max_len_b": int}
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Config:
    """What a folder tells of its model.

    Attributes:
        model: its shape.
        precision: of the weights, one of `PRECISIONS`.
        languages: of source and target.
        left_pad_source: whether padding of sources comes first.
        steps: what was done to the text before the subwords.
        search: options of the search that it is best used with.
        has_shortlist: whether the folder has one.
        same_as: for each weight that is another one too, the name that it is stored under.
        files: for each of the others that it was written with, SHA-256 and bytes.
        provenance: where the model is from.
        settings: fairseq's, for the way back.
    """

    model: ModelShape
    precision: str
    languages: tuple[str, str]
    left_pad_source: bool
    steps: TextSteps
    search: Mapping[str, Any] = field(default_factory=dict)
    has_shortlist: bool = False
    same_as: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        source, target = self.languages
        languages = {"source": source, "target": target}
        return {"format": FORMAT, **asdict(self), "languages": languages}


def read_config(path: Path) -> Config:
    """The configuration in a file.

    Raises:
        UserError: where it is damaged, or of another format.
    """
    told = read_json(path, "the configuration of a model's folder")
    form = told.get("format")
    if form != FORMAT:
        raise UserError(
            f"`{path}` has the format {str(form)[:40]!r}: it has to be {FORMAT}, which `memtx"
            " export` writes"
        )
    try:
        return from_json(told)
    except (ValueError, TypeError, KeyError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"`{path}` cannot be used: {missing}") from None


def from_json(told: Mapping[str, Any]) -> Config:
    """What `Config.as_json` made.

    Raises:
        ValueError, TypeError, KeyError: for anything else.
    """
    check_one_of("precision", told["precision"], PRECISIONS)
    for name in ("left_pad_source", "has_shortlist"):
        check_switch(name, told[name])
    languages = _object(told, "languages")
    return Config(
        model=_model(_object(told, "model")),
        precision=told["precision"],
        languages=(_text(languages["source"]), _text(languages["target"])),
        left_pad_source=told["left_pad_source"],
        steps=TextSteps(**_only(_object(told, "steps"), TextSteps)),
        search=_search(_object(told, "search")),
        has_shortlist=told["has_shortlist"],
        same_as={_text(name): _text(other) for name, other in _object(told, "same_as").items()},
        files=_files(_object(told, "files")),
        provenance=_object(told, "provenance"),
        settings=_object(told, "settings"),
    )


def _object(told: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = told[name]
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise ValueError(f"{str(value)[:40]!r} is no name")
    return value


def _only(told: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The values of a dataclass, of which none may be unknown."""
    unknown = sorted(set(told) - {item.name for item in fields(kind)})
    if unknown:
        raise ValueError(f"{unknown[0][:80]!r} is unknown")
    return dict(told)


def _model(told: Mapping[str, Any]) -> ModelShape:
    """The shape, its decoder's options among it."""
    values = _only(told, ModelShape)
    encoder = Shape(**_only(_object(values, "encoder"), Shape))
    decoder = DecoderShape(**_only(_object(values, "decoder"), DecoderShape))
    check_one_of("kind", decoder.kind, DECODERS)
    _check_options(decoder)
    return ModelShape(**{**values, "encoder": encoder, "decoder": decoder})


def _check_options(decoder: DecoderShape) -> None:
    """Refuse options that the decoder has not, or of another type."""
    entry = DECODERS[decoder.kind]
    defaults = {} if entry.options is None else asdict(entry.options())
    for name, value in decoder.options.items():
        if name not in defaults:
            raise ValueError(f"the option {name[:80]!r} is unknown to the decoder {decoder.kind}")
        if type(value) is not type(defaults[name]):
            raise ValueError(f"the option {name} is {str(value)[:40]!r}")
        if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
            raise ValueError(f"the option {name} is {value}: it is too large")
    if entry.options is not None:
        entry.options(**decoder.options)
    expected = decoder.layers if entry.is_segmented else 0
    if len(decoder.memory_layers) != expected:
        raise ValueError(f"memory_layers has {len(decoder.memory_layers)} entries: {expected} fit")


def _search(told: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in told.items():
        if name not in SEARCH:
            raise ValueError(f"the search has the unknown option {name[:80]!r}")
        kinds = (int, float) if SEARCH[name] is float else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ValueError(f"{name} is {str(value)[:40]!r}: it has to be a number")
    return dict(told)


def _files(told: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    for name, about in told.items():
        if name not in READ:
            raise ValueError(f"files names {name[:80]!r}, which is none of a model's folder")
        whole = isinstance(about, dict) and set(about) == {"sha256", "bytes"}
        if not whole or type(about["bytes"]) is not int or not isinstance(about["sha256"], str):
            raise ValueError(f"files tells of {name} something else than sha256 and bytes")
    return {name: dict(about) for name, about in told.items()}
