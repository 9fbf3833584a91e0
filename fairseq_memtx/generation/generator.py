"""The generator behind `--memtx-generator fast` and `cuda-graphs`: fairseq's interface, our search.

It finds what fairseq's generator with its beam search finds (see `decoding.beam_search`), and
refuses what it does not know. Unlike fairseq's, its hypotheses carry the attention to the source
only with `--print-alignment`.
"""

from typing import Any

import torch
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment

from . import fairseq_coders  # noqa: F401  (what it says of fairseq's models)
from .alignment import align
from .search import BatchSearch, refusal


class FastGenerator(BatchSearch, SequenceGenerator):
    """fairseq's generator with its search replaced; arguments and results are fairseq's.

    Args:
        models, tgt_dict, options: fairseq's.
        shortlist, graphs, native: see `BatchSearch.prepare_search`.

    Raises:
        UserError: for a beam that the vocabulary, or the shortlist, is too small for.
    """

    def __init__(self, models, tgt_dict, shortlist=None, graphs=None, native=None, **options):
        super().__init__(models, tgt_dict, **options)
        if self.lm_model is not None or self.token_indices_to_suppress is not None:
            raise refusal("a language model or suppressed words cannot be used")
        if not (self.model.has_incremental_states() and self.model.has_encoder()):
            raise refusal("models without an encoder or an incremental state cannot be used")
        beam_size = options.get("beam_size", 1)
        self.prepare_search(self.model.models, beam_size, shortlist, graphs, native)


class FastGeneratorWithAlignment(SequenceGeneratorWithAlignment, FastGenerator):
    """The same with fairseq's extraction of alignments (`--print-alignment`)."""

    wants_attention = True

    @torch.no_grad()
    def generate(self, models, sample, **how):
        finalized = self._generate(sample, **how)
        align(self, sample, finalized)
        return finalized


def generator_class(
    args: Any, extra: dict[str, Any], prefix_allowed_tokens_fn: Any = None
) -> type[FastGenerator]:
    """The generator for fairseq's settings of a generation.

    Args:
        args: these settings.
        extra: further arguments of the generator; what a kind of generator needs is added.
        prefix_allowed_tokens_fn: fairseq's hook to restrict the words, which is refused.

    Raises:
        UserError: for kinds of search that it does not know, naming the flag.
    """
    given = {
        "--sampling": getattr(args, "sampling", False),
        "--diverse-beam-groups": getattr(args, "diverse_beam_groups", -1) > 0,
        "--diversity-rate": getattr(args, "diversity_rate", -1) > -1,
        "--constraints": getattr(args, "constraints", None),
        "--lm-path": extra.get("lm_model"),
        "--retain-dropout": getattr(args, "retain_dropout", False),
        "prefix_allowed_tokens_fn": prefix_allowed_tokens_fn
        or getattr(args, "prefix_allowed_tokens_fn", None),
    }
    for name, value in given.items():
        if value:
            raise refusal(f"{name} cannot be used")
    alignment = getattr(args, "print_alignment", None)
    if not alignment and getattr(args, "replace_unk", None) is not None:
        alignment = "hard"
    if not alignment:
        return FastGenerator
    extra["print_alignment"] = alignment
    return FastGeneratorWithAlignment
