"""A checkpoint is used with its own dictionaries, subwords and text steps by every command.

The data that it must not be used with have as many words, so that nothing else would be noticed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary

from fairseq_memtx.checkpoints import fingerprints
from fairseq_memtx.commands import distil, explain, quantize, shortlist, translate
from fairseq_memtx.ground.layout import SUBWORD_MODEL
from fairseq_memtx.ground.text import load_subwords
from tests.choosing import some
from tests.reliability.fairseq_commands import run


@pytest.fixture(scope="module")
def knowing(
    scattered: Path, prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model with the fingerprints that a training leaves."""
    data = prepared_sample / "bin"
    words = {
        side: fingerprints.of_words(Dictionary.load(str(data / f"dict.{language}.txt")).symbols)
        for side, language in (("source", "en"), ("target", "de"))
    }
    state = torch.load(scattered, weights_only=True)
    state["extra_state"] = {fingerprints.KEY: {**words, **fingerprints.of_folder(data)}}
    assert set(state["extra_state"][fingerprints.KEY]) == {"source", "target", "subwords", "text"}
    path = tmp_path_factory.mktemp("knowing") / "model.pt"
    torch.save(state, path)
    return path


def swapped(folder: Path) -> None:
    """Two words have each other's number."""
    for language in ("en", "de"):
        path = folder / "bin" / f"dict.{language}.txt"
        lines = path.read_text(encoding="utf-8").split("\n")
        lines[20], lines[21] = lines[21], lines[20]
        path.write_text("\n".join(lines), encoding="utf-8")


def other_subwords(folder: Path) -> None:
    """A model that is read as well: the same pieces, and a field that nobody knows."""
    path = folder / "bin" / SUBWORD_MODEL
    path.write_bytes(path.read_bytes() + b"\xc0\x0c\x01")
    load_subwords(path)


def other_text(folder: Path) -> None:
    """Prepared with another tokenizer."""
    path = folder / "prepared.json"
    told = json.loads(path.read_bytes())
    told["options"]["tokenizer"] = "moses"
    path.write_text(json.dumps(told))


OTHERS: dict[str, Callable[[Path], None]] = {
    "the source dictionary": swapped,
    "the sentencepiece model": other_subwords,
    "the preparation of the text": other_text,
}


#: The first by default, all of them by `-m slow`.
FIRST, *REST = OTHERS


@pytest.fixture(params=[FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in REST)])
def other(request: pytest.FixtureRequest, prepared_sample: Path, tmp_path: Path) -> Path:
    """Other data; `said` beside them is what must be told."""
    folder = Path(shutil.copytree(prepared_sample, tmp_path / "other"))
    OTHERS[request.param](folder)
    (tmp_path / "said").write_text(request.param)
    return folder


def ours(name: str, data: Path, model: Path, out: Path) -> list[str]:
    out.mkdir(exist_ok=True)
    (out / "text").write_text("The old dog sees a cat .\n")
    return {
        "translate": [str(model), "--data", str(data / "bin"), "--input", str(out / "text"),
                      "--beam", "1", "--output", str(out / "translated")],
        "explain": [str(model), "--data", str(data / "bin"), "--input", str(out / "text"),
                    "--beam", "1", "--out", str(out / "page.html")],
        "quantize": [str(model), "--data", str(data / "bin"), "--out", str(out / "small.pt")],
    }[name]  # fmt: skip


MAINS = {"translate": translate.main, "explain": explain.main, "quantize": quantize.main}


@pytest.mark.parametrize("name", MAINS)
def test_commands_of_memtx_refuse_other_data(
    name: str, other: Path, knowing: Path, prepared_sample: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    said = (tmp_path / "said").read_text()
    assert MAINS[name](ours(name, other, knowing, tmp_path / "out")) == 1
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert told.startswith("error: ") and said in told and "was trained with" in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["text"]
    assert MAINS[name](ours(name, prepared_sample, knowing, tmp_path / "out")) == 0


@pytest.mark.parametrize("name", some(["generate", "interactive", "validate"], 3))
def test_fairseqs_commands_refuse_other_data(
    name: str, other: Path, knowing: Path, prepared_sample: Path, tmp_path: Path
) -> None:
    said = (tmp_path / "said").read_text()
    for data, expected in ((other, said), (prepared_sample, None)):
        words = [str(data / "bin"), "--task", "memtx_translation", "--path", str(knowing), "--cpu"]
        words += ["--num-workers", "0", "--max-tokens", "900"]
        if name != "validate":
            words += ["--bpe", "sentencepiece", "--sentencepiece-model"]
            words += [str(data / "bin" / SUBWORD_MODEL), "--beam", "1", "--max-len-b", "3"]
        ran = run(name, words, "the dog\n")
        assert (ran.refused is None) == (expected is None), ran.refused
        assert expected is None or (expected in str(ran.refused) and "\n" not in str(ran.refused))


def test_a_shortlist_of_other_data_is_refused(
    scattered: Path, prepared_sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a checkpoint that tells nothing of its data: the list does."""
    folder, words = Path(shutil.copytree(prepared_sample, tmp_path / "other")), tmp_path / "l.npz"
    swapped(folder)
    assert shortlist.main([str(folder / "bin"), "--out", str(words), "--iterations", "1"]) == 0
    line = ours("translate", prepared_sample, scattered, tmp_path / "out")
    assert translate.main([*line, "--shortlist", str(words)]) == 1
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert told.startswith("error: ") and "dictionar" in told and "shortlist" in told


@pytest.mark.slow
def test_distil_refuses_other_data(
    other: Path, knowing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = (tmp_path / "said").read_text()
    words = ["--data", str(other), "--teacher", str(knowing), "--out", str(tmp_path / "out")]
    assert distil.main([*words, "--shards", "1", "--beam", "1", "--generate-args=--cpu"]) == 1
    assert said in capsys.readouterr().err


# ---- what a checkpoint may hold


def test_eight_bits_are_for_our_task_alone(
    scattered: Path, data_bin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither an average nor plain fairseq-generate takes the integers for weights."""
    from fairseq_memtx.commands import average

    small = tmp_path / "small.pt"
    assert quantize.main([str(scattered), "--out", str(small)]) == 0
    for files in ([small, small], [scattered, small]):
        assert average.main([*map(str, files), "--out", str(tmp_path / "mean.pt")]) == 1
        told = capsys.readouterr().err.strip().split("\n")[-1]
        assert "eight bits, which have no average" in told
    assert not (tmp_path / "mean.pt").exists()
    words = [str(data_bin), "--path", str(small), "--cpu", "--max-len-b", "3", "--beam", "1"]
    ran = run("generate", [*words, "--task", "translation"])
    assert ran.refused and "only --task memtx_translation reads: add that flag" in ran.refused
    assert run("generate", [*words, "--task", "memtx_translation"]).refused is None


def as_hydra_leaves_it(path: Path, out: Path) -> Path:
    """The checkpoint as fairseq-hydra-train writes it: its settings are dictionaries alone."""
    from fairseq_memtx.checkpoints import settings

    state = torch.load(path, weights_only=True)
    plain = settings.plain(state["cfg"])
    model = settings.as_dict(plain["model"])
    state["cfg"] = {**plain, "model": {**model, "_name": model.get("_name") or model["arch"]}}
    assert all(isinstance(section, dict | None) for section in state["cfg"].values())
    torch.save(state, out)
    return out


@pytest.mark.slow
def test_a_checkpoint_of_hydra_is_translated_and_quantised(scattered: Path, tmp_path: Path) -> None:
    from fairseq_memtx.translator import SearchSettings, Translator

    hydra, small = as_hydra_leaves_it(scattered, tmp_path / "hydra.pt"), tmp_path / "small.pt"
    search, lines = SearchSettings(beam=2, max_len_a=0, max_len_b=8), ["The old dog", "a cat"]
    expected = Translator.from_pretrained(scattered, search=search).translate(lines)
    assert Translator.from_pretrained(hydra, search=search).translate(lines) == expected
    assert quantize.main([str(hydra), "--out", str(small)]) == 0
    assert len(Translator.from_pretrained(small, search=search).translate(lines)) == 2
