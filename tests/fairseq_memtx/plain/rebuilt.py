"""Models of fairseq's, and the same without it."""

from typing import Any

from fairseq_memtx.folder.shape_of import shape_of
from fairseq_memtx.plain.model import PlainModel
from tests.fairseq_memtx.generation.comparisons import MODELS
from tests.fairseq_memtx.tiny import build_model


def pair(decoder: str, **settings: Any) -> tuple[Any, PlainModel]:
    """A tiny model of fairseq's in float64 and ours with its weights."""
    name, own = MODELS[decoder]
    model = build_model(name, **{**own, **settings})
    return model, rebuild(model)


def rebuild(model: Any) -> PlainModel:
    """The model without fairseq."""
    made = PlainModel(shape_of(model)).to(next(model.parameters()).dtype).eval()
    weights = model.state_dict()
    made.load_state_dict({n: x for n, x in weights.items() if not n.endswith(".version")})
    return made
