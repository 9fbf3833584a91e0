"""Labels for some positions of a text that is read in order, memory carried from block to block.

`--task memtx_labelled_stream` takes what `memtx prepare programs` writes: a text, and beside it a
label for some of its positions, which is the only thing that loss and accuracy count. As in
`--task memtx_language_modeling`, a batch has `--batch-size` rows of `--tokens-per-sample` words,
each going on where it ended in the batch before. A model without a memory to carry, such as
fairseq's `transformer_lm`, sees each block alone.

Accuracy is logged by `--criterion label_smoothed_cross_entropy --label-smoothing 0
--report-accuracy`; `--best-checkpoint-metric accuracy --maximize-best-checkpoint-metric` keeps the
checkpoint that is best in it.
"""

import os

from fairseq.data import Dictionary
from fairseq.tasks import register_task
from fairseq.utils import split_paths

from ..ground.errors import UserError
from .language_modeling import MemtxLanguageModelingConfig, MemtxLanguageModelingTask, Text

#: The part of the files' names that tells labels from words.
LABELS = "label"


@register_task("memtx_labelled_stream", dataclass=MemtxLanguageModelingConfig)
class MemtxLabelledStreamTask(MemtxLanguageModelingTask):
    """Streams whose targets are labels of the same positions, of a dictionary of their own."""

    @classmethod
    def setup_task(cls, args, **kwargs):
        """fairseq's hook.

        Raises:
            UserError: where a dictionary is missing.
        """
        folder = split_paths(args.data)[0]
        words, labels = (
            load_dictionary(os.path.join(folder, name))
            for name in ("dict.txt", f"dict.{LABELS}.txt")
        )
        return cls(args, words, labels, targets=["future"])

    def build_model(self, args, from_checkpoint=False):
        """fairseq's hook.

        Raises:
            UserError: where words and labels are to share one embedding.
        """
        if getattr(args, "share_decoder_input_output_embed", False):
            raise UserError(
                "--share-decoder-input-output-embed is impossible here: words and labels have"
                " dictionaries of their own"
            )
        return super().build_model(args, from_checkpoint)

    def _refuse_without_memory(self, model) -> None:
        """Nothing to refuse: such a model sees each block alone."""

    def _load(self, path: str, combine: bool) -> Text:
        tokens, _ = super()._load(path, combine)
        labels = self._joined(f"{path}.{LABELS}", self.output_dictionary, combine)
        if labels.numel() != tokens.numel():
            raise UserError(
                f"`{path}.{LABELS}.bin` has {labels.numel():,} labels for {tokens.numel():,} words:"
                " prepare both again"
            )
        return tokens, labels


def load_dictionary(path: str) -> Dictionary:
    """A dictionary of the data.

    Raises:
        UserError: where there is none.
    """
    if not os.path.isfile(path):
        raise UserError(f"`{path}` is missing: `memtx prepare programs` writes such data")
    return Dictionary.load(path)
