"""Reads settings that are text as plain values, where fairseq hands them to Python's `eval`.

Stock runs whatever a checkpoint's configuration says: `encoder_xformers_att_config`,
`adaptive_softmax_cutoff`, the layers of `fconv`, the betas of Adam. May go once fairseq reads them
with `ast.literal_eval`.
"""

import contextlib
import importlib

from ..ground.literals import literal
from .wrapping import shadow

#: Modules of fairseq's that call `eval` on settings or on lines of data. `utils` has the functions
#: that all others use.
MODULES = (
    "utils", "criterions.ctc", "data.audio.raw_audio_dataset", "data.codedataset",
    "models.fconv", "models.fconv_lm", "models.fconv_self_att", "models.hubert.hubert",
    "models.lightconv_lm", "models.speech_to_text.s2t_wav_transformer", "models.transformer_lm",
    "models.wav2vec.wav2vec", "models.wav2vec.wav2vec2", "optim.adafactor", "optim.adam",
    "optim.adamax", "optim.cpu_adam", "optim.fused_lamb",
)  # fmt: skip


def apply() -> None:
    """Let `eval` be `literal` in these modules; those that cannot be imported do no harm."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            shadow(importlib.import_module(f"fairseq.{name}"), "eval", literal)
