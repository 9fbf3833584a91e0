"""What `--memtx-generator cuda-graphs` adds to `fast`: searches that the GPU runs alone.

Not yet run on a GPU: see `engine.gpu`.
"""

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..decoding.gpu.device_search import DeviceDecoder, DeviceSearch
from ..decoding.history import Hypothesis
from ..decoding.search_options import Limits, SearchOptions
from ..engine.gpu.cuda_graphs import CudaRecorder
from ..engine.gpu.recording import Recorder
from .steppers import HowToStep, PreparedModel, is_final, why_not_fused

logger = logging.getLogger(__name__)


class GraphSearches:
    """Searches by `decoding.gpu.device_search`, with graphs that are kept as long as this lives.

    Args:
        make_recorder: makes what records on a device.
        device_type: of the devices that it can record on.

    Attributes:
        decoder: of the last search, None before the first.
    """

    def __init__(
        self,
        make_recorder: Callable[[torch.device], Recorder] = CudaRecorder,
        device_type: str = "cuda",
    ):
        self._make_recorder, self._device_type = make_recorder, device_type
        self._told: set[str] = set()
        self.decoder: DeviceDecoder | None = None

    def find(
        self,
        prepared: Sequence[PreparedModel],
        net_input: dict[str, Tensor],
        options: SearchOptions,
        how: HowToStep,
        limits: Limits,
    ) -> list[Hypothesis] | None:
        """All hypotheses of a batch; None, and once in the log why, where it cannot search."""
        reason = why_not_on_device(prepared, options, how, limits)
        if net_input["src_tokens"].device.type != self._device_type:
            reason = "there is no GPU"
        if reason is None:
            try:
                return self._search(prepared[0], net_input, options, how, limits.prefix)
            except torch.OutOfMemoryError:
                reason, self.decoder = "the GPU's memory is too small for a batch", None
        if reason not in self._told:
            self._told.add(reason)
            logger.warning("searching step by step, as the generator `fast` does: %s", reason)
        return None

    def _search(
        self,
        engine: PreparedModel,
        net_input: dict[str, Tensor],
        options: SearchOptions,
        how: HowToStep,
        prefix: Tensor | None,
    ) -> list[Hypothesis]:
        weights, encoded = engine.weights(), engine.encode(net_input)
        if self.decoder is None or self.decoder.weights is not weights:
            self.decoder = DeviceDecoder(
                weights, how.temperature, self._make_recorder(weights.device)
            )
        masks = encoded["encoder_padding_mask"]
        source = weights.look_at(encoded["encoder_out"][0], masks[0] if masks else None)
        return DeviceSearch(self.decoder, source, options, prefix).find_hypotheses()


def why_not_on_device(
    prepared: Sequence[PreparedModel], options: SearchOptions, how: HowToStep, limits: Limits
) -> str | None:
    """What about a search only the host can do; None if nothing."""
    decoder = prepared[0].model.decoder
    adaptive, not_fused = getattr(decoder, "adaptive_softmax", None), why_not_fused(decoder)
    memory = getattr(decoder, "memory", None)
    looks_far = memory is not None and (memory.span > 0 or memory.distance_keys is not None)
    in_segments = hasattr(decoder, "lengths")
    reasons = {
        "there are several models": len(prepared) > 1,
        f"the decoder cannot be recorded, {not_fused}": not_fused is not None,
        "its memory has a span or relative positions": not_fused is None and looks_far,
        "the decoder works in segments": not_fused is None and in_segments,
        "the decoder has an adaptive softmax": adaptive is not None,
        "the model is in training": not is_final(prepared[0].model),
        "--no-repeat-ngram-size is used": options.no_repeat_ngram_size > 0,
        "--match-source-len is used": limits.exact_length is not None,
        "sentences have length limits of their own": limits.longest is not None,
        "--print-alignment is used": how.attention,
        "there is a shortlist": how.words is not None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
