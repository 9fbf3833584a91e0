"""Sentences with fewer hypotheses than the beam are aligned, by both generators alike."""

from pathlib import Path

import pytest
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment

from fairseq_memtx import repairs
from fairseq_memtx.generation.generator import FastGenerator
from tests.reliability.fairseq_commands import run

repairs.apply()


@pytest.fixture(autouse=True)
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that find one hypothesis for every other sentence, where the beam has three."""
    for kind in (SequenceGenerator, FastGenerator):
        search = kind._generate

        def some(generator, *args, search=search, **how):
            found = search(generator, *args, **how)
            return [one[: 1 + 2 * (number % 2)] for number, one in enumerate(found)]

        monkeypatch.setattr(kind, "_generate", some)


def aligned(data: Path, model: Path, *flags: str) -> list[str]:
    """The alignments that fairseq-generate prints."""
    words = [str(data / "bin"), "--task", "memtx_translation", "--path", str(model), "--cpu"]
    words += ["--num-workers", "0", "--max-len-b", "5", "--beam", "3", "--batch-size", "7"]
    ran = run("generate", [*words, "--print-alignment", "--nbest", "3", *flags])
    assert ran.refused is None
    return [line for line in ran.out.split("\n") if line[:2] == "A-"]


@pytest.mark.slow
def test_both_generators_align_what_there_is(
    prepared_sample: Path, tiny_checkpoints: dict[str, Path]
) -> None:
    found, fast = (
        aligned(prepared_sample, tiny_checkpoints["feedback"], "--memtx-generator", name)
        for name in ("fairseq", "fast")
    )
    assert found == fast and len(found) == 2 * (4 * 1 + 3 * 3)
    assert all(len(line.split("\t")[1].split()) == 5 for line in found)


def test_defect_stock_counts_on_a_whole_beam(
    prepared_sample: Path, tiny_checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails once fairseq goes through the hypotheses that there are."""
    kind = SequenceGeneratorWithAlignment
    monkeypatch.setattr(kind, "generate", kind.generate.__wrapped__)
    with pytest.raises(IndexError):
        aligned(prepared_sample, tiny_checkpoints["feedback"])
