"""Fused steps beside a decoder's own, in one search."""

from typing import Any

import torch

from fairseq_memtx.decoding.beam_search import Move
from fairseq_memtx.decoding.fused import FusedDecoder
from fairseq_memtx.generation.steppers import FusedStepper, HowToStep, IncrementalStepper
from fairseq_memtx.modules.stream_memory import Memory
from tests.fairseq_memtx.searches import sample

#: Of the sentences before each one: none anywhere; as many for all; fewer, and none, for some.
BEFORE = {"nothing": None, "equal": (5, 5, 5), "unequal": (5, 0, 2)}


def steppers(model: Any, beam: int, memory: Memory | None) -> tuple[Any, Any]:
    """The two, at the beginning of one search."""
    torch.manual_seed(5)  # the same sources whenever it is called
    encoder_out = model.encoder.forward_torchscript(sample([4, 2, 5])["net_input"])
    how = HowToStep(beam, attention=True)
    weights = FusedDecoder(model.decoder)
    in_reach = None if memory is None else model.decoder.in_reach(memory)
    fused = FusedStepper(weights, encoder_out, how, in_reach)
    return fused, IncrementalStepper(model, encoder_out, torch.arange(3), how, memory)


def follow(both: tuple[Any, Any], beam: int) -> None:
    """Feed random words to two steppers that have begun, and hold them to each other."""
    sentences, rows = 3, 1
    for step in range(25):  # more than there are slots at first
        tokens = torch.randint(4, 12, (sentences * rows,))
        (got, got_probs), (want, want_probs) = (one.score_next(tokens) for one in both)
        # both tell float32, of sums in float64
        torch.testing.assert_close(got, want, rtol=1e-6, atol=2e-6)
        torch.testing.assert_close(got_probs, want_probs, rtol=1e-6, atol=2e-6)
        kept = torch.tensor([2, 1]) if step == 7 else None
        sentences = sentences if kept is None else len(kept)
        move = Move(torch.randint(0, rows, (sentences, beam)), kept)
        for one in both:
            one.move(move)
        rows = beam
