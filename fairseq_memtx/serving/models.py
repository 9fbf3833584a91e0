"""The models of a server: loaded once, searched in as many ways as requests ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ..decoders import name_of
from ..explain.page import html_of
from ..explain.views import can_be_explained, explained
from ..translation.loading import usual_search
from ..translation.results import Translation
from ..translator import Translator
from .app import Served, Server
from .batching import SharedBatches, Wish
from .limits import RequestLimits
from .metrics import Metrics


class ServedModel:
    """One model, for its thread alone.

    Args:
        path: checkpoint or folder.
        int8: whether its weights are rounded to eight bits.
        batch: lines that are searched together.

    Raises:
        UserError: where it cannot be loaded.
    """

    def __init__(self, path: Path, int8: bool, batch: int) -> None:
        self.path, self._int8, self._batch = path, int8, batch
        self._plain = self._load(alignment=False)
        self._aligning = lru_cache(1)(partial(self._load, alignment=True))

    def _load(self, alignment: bool) -> Translator:
        own = usual_search(self.path)
        search = replace(own, alignment=alignment, batch_size=self._batch)
        return Translator.from_pretrained(self.path, search=search, int8=self._int8)

    def about(self) -> dict[str, Any]:
        """What is told of it."""
        cfg = self._plain.task.cfg
        decoder = name_of(self._plain.models[0].decoder)
        languages = {"source_lang": cfg.source_lang, "target_lang": cfg.target_lang}
        return {"decoder": decoder, **languages, "explained": can_be_explained(self._plain)}

    def translator(self, wish: Wish) -> Translator:
        """It, searched as a wish has it. Weights with attention are loaded when first asked for."""
        whole = self._aligning() if wish.alignment else self._plain
        return whole.with_beam(wish.beam, wish.nbest, wish.lenpen)

    def search(self, wish: Wish, lines: Sequence[str]) -> list[list[Translation]]:
        """Of each line its translations."""
        return self.translator(wish).nbest(lines)

    def explain(self, line: str, beam: int, nbest: int) -> str:
        """A page of what was attended to."""
        translator = self.translator(Wish(beam, nbest))
        return html_of(explained(translator, [line], self.path.name))


def load_server(models: Mapping[str, Path], limits: RequestLimits, int8: bool = False) -> Server:
    """A server of these models, by name.

    Raises:
        UserError: where one cannot be loaded.
    """
    metrics, served = Metrics(), {}
    for name, path in models.items():
        model = ServedModel(path, int8, limits.batch)
        batches = SharedBatches(model.search, limits)
        batches.observe = metrics.watch(name, partial(getattr, batches, "waiting"))
        served[name] = Served(model.about(), batches, model.explain)
    return Server(served, limits, metrics)
