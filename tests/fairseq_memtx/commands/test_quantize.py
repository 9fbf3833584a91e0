"""A checkpoint in eight bits translates as the rounded model does."""

from pathlib import Path

import pytest
import torch

from fairseq_memtx.commands import quantize


@pytest.mark.parametrize("decoder", ["transformer", "feedback"])
def test_the_file_translates_as_the_rounded_model(
    decoder: str, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from fairseq_memtx.modules.rounding import is_rounded, round_model
    from fairseq_memtx.translator import SearchSettings, Translator

    out, search = tmp_path / "small.pt", SearchSettings(beam=2, max_len_a=0, max_len_b=8)
    assert quantize.main([str(tiny_checkpoints[decoder]), "--out", str(out)]) == 0
    stored = Translator.from_pretrained(out, search=search)
    direct = Translator.from_pretrained(tiny_checkpoints[decoder], search=search)
    round_model(direct.models[0])
    for (name, found), expected in zip(
        stored.models[0].state_dict().items(), direct.models[0].state_dict().values(), strict=True
    ):
        assert torch.equal(found, expected), name
    assert is_rounded(stored.models[0])
    lines = ["The old dog sees a cat .", "A bird"]
    assert stored.translate(lines) == direct.translate(lines)
    assert out.stat().st_size < tiny_checkpoints[decoder].stat().st_size


def test_unusable_files_are_refused(
    tiny_checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, other = str(tiny_checkpoints["feedback"]), tmp_path / "other.pt"
    torch.save({"model": {}, "cfg": {"task": {"_name": "language_modeling"}}}, other)
    cases = {
        (model, "--out", model): "which is read: name another",
        ("no.pt", "--out", "x.pt"): "there is no checkpoint `no.pt`",
        (
            model,
            "--out",
            "x.pt",
            "--data",
            str(tmp_path),
        ): "sentencepiece.bpe.model and the dictionaries are not in",
        (model, "--out", str(tmp_path)): "is a folder: name a file",
        (model, "--out", f"{model}/x.pt"): "is a file, not a folder",
        (str(other), "--out", "x.pt"): "task is language_modeling: only",
    }
    for words, message in cases.items():
        assert quantize.main(list(words)) == 1
        assert message in capsys.readouterr().err.split("\n")[-2]
    assert not Path("x.pt").exists()
