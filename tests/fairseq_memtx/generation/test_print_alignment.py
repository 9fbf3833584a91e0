"""`fairseq-generate --print-alignment` with the memory decoders."""

import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils, options
from fairseq_cli import generate

from tests.choosing import some
from tests.fairseq_memtx.tiny_training import make_data, run_training

SEGMENTS = "--memtx-segment-len 4 --memtx-mem-len 4"
MODELS = {
    "memtx_feedback": "",
    "memtx_transformer_xl": SEGMENTS,
    "memtx_compressive": f"{SEGMENTS} --memtx-compression-rate 2 --memtx-compression max-pool",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("alignment") / "data", train_pairs=12)


def train(model: str, data: Path, folder: Path) -> Path:
    flags = f"--arch {model} {MODELS[model]} --max-update 3 --decoder-layers 2 --lr 0.1"
    run_training(data, folder, *flags.split(), "--disable-validation")
    return folder / "checkpoint_last.pt"


def generated(data: Path, path: Path, kind: str, capsys: pytest.CaptureFixture) -> dict:
    """The fields of the lines that fairseq-generate prints, by sentence and letter."""
    flags = f"--path {path} --gen-subset valid --cpu --beam 2 --max-len-b 9 --batch-size 5"
    flags += f" --print-alignment {kind} --num-workers 0"
    capsys.readouterr()
    generate.main(
        options.parse_args_and_arch(options.get_generation_parser(), [str(data), *flags.split()])
    )
    lines: dict[int, dict[str, str]] = defaultdict(dict)
    for found in re.finditer(r"^([STHA])-(\d+)\t(.*)$", capsys.readouterr().out, re.M):
        lines[int(found[2])][found[1]] = found[3]
    return lines


def attention(path: Path) -> Callable[[str, str], torch.Tensor]:
    """The last layer's attention over a source, when the hypothesis is read in one piece."""
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    return partial(attend, model.eval(), task.source_dictionary.encode_line)


def attend(model: Any, encode: Callable, source: str, hypothesis: str) -> torch.Tensor:
    """`(T, S)`, end symbols included."""
    src, hypo = (encode(text, add_if_not_exist=False).long()[None] for text in (source, hypothesis))
    with torch.no_grad():
        _, extra = model(src, torch.tensor([src.size(1)]), hypo.roll(1))
    return extra["attn"][0][0]


@pytest.mark.parametrize("model", some(MODELS, 3))
def test_each_word_is_aligned_with_the_source_that_it_attends_to(model, data, tmp_path, capsys):
    path = train(model, data, tmp_path)
    lines, attended = generated(data, path, "hard", capsys), attention(path)
    assert len(lines) == 12
    for line in lines.values():
        hypothesis = line["H"].split("\t")[1]
        probs = attended(line["S"], hypothesis)
        # the alignment leaves the end symbols out, on both sides
        want = probs[:-1, :-1].argmax(dim=1).tolist()
        pairs = [tuple(map(int, pair.split("-"))) for pair in line["A"].split()]
        assert [target for _, target in pairs] == list(range(len(hypothesis.split())))
        assert [source for source, _ in pairs] == want


def test_soft_alignments_are_the_attention(data, tmp_path, capsys):
    path = train("memtx_feedback", data, tmp_path)
    attended = attention(path)
    for line in generated(data, path, "soft", capsys).values():
        hypothesis = line["H"].split("\t")[1]
        found = [[float(x) for x in row.split(",")] for row in line["A"].split()]
        want = attended(line["S"], hypothesis)
        torch.testing.assert_close(torch.tensor(found), want, rtol=0, atol=1e-5)
