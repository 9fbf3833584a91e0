"""`memtx explain`: one file or none, errors in one line."""

import json
import math
import re
from pathlib import Path

import pytest

from fairseq_memtx.commands import export
from fairseq_memtx.commands.explain import main
from fairseq_memtx.explain import views
from fairseq_memtx.translator import SearchSettings, Translator

SHORT = ["--max-len-a", "0", "--max-len-b", "12"]
LINES = ["the old man sees a dog .", "a bird sings ."]


def data_of(page: Path) -> dict:
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("decoder", ["transformer", "feedback"])
def test_a_page_of_sentences(
    decoder: str, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    model, out = tiny_checkpoints[decoder], tmp_path / "page.html"
    assert main([str(model), *LINES, "--out", str(out), "--nbest", "2", *SHORT]) == 0
    told = data_of(out)
    assert (told["model"], told["decoder"], told["layers"]) == (f"{decoder}.pt", decoder, 2)
    assert [one["text"] for one in told["sentences"]] == LINES
    search = SearchSettings(nbest=2, max_len_a=0, max_len_b=12)
    wanted = Translator.from_pretrained(model, search=search).nbest(LINES)
    own = 0 if decoder == "feedback" else 1
    for sentence, translations in zip(told["sentences"], wanted, strict=True):
        assert [one["text"] for one in sentence["translations"]] == [x.text for x in translations]
        for shown, one in zip(sentence["translations"], translations, strict=True):
            assert shown["scores"] == pytest.approx(one.subword_scores, abs=1e-4)
            assert 0 <= shown["gap"] < 1e-3
            for layer in shown["layers"]:
                size = len(one.source_subwords) + 1
                assert {len(row) for step in layer["source"] for row in step} == {size}
                past = [len(step[0]) for step in layer["past"]]
                assert past == [t + own for t in range(len(one.subwords) + 1)]
                full = [sum(row) for step in layer["past"] for row in step if row]
                assert all(math.isclose(total, 1000, abs_tol=size + len(past)) for total in full)
    for sentence in told["sentences"]:
        for one in sentence["translations"]:
            # as before training
            assert one["mixtures"] == ([] if decoder == "transformer" else [[[333] * 3]])


@pytest.mark.parametrize("decoder", ["transformer", "feedback"])
def test_a_page_of_a_folder_is_that_of_its_checkpoint(
    decoder: str, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder, pages = tmp_path / "folder", (tmp_path / "a.html", tmp_path / "b.html")
    flags = ["--beam", "2", *SHORT]
    assert export.main([str(tiny_checkpoints[decoder]), "--out", str(folder), *flags]) == 0
    assert main([str(folder), LINES[0], "--out", str(pages[0])]) == 0
    assert main([str(tiny_checkpoints[decoder]), LINES[0], "--out", str(pages[1]), *flags]) == 0
    got, want = map(data_of, pages)
    assert (got.pop("model"), want.pop("model")) == ("folder", f"{decoder}.pt")
    for one, other in zip(
        *(told["sentences"][0]["translations"] for told in (got, want)), strict=True
    ):
        assert one["subwords"] == other["subwords"]
        assert one["scores"] == pytest.approx(other["scores"], abs=2e-4)
    assert {name: got[name] for name in got if name != "sentences"} == {
        name: want[name] for name in want if name != "sentences"
    }


def test_lines_of_a_file_without_the_blank_ones(
    tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    text, out = tmp_path / "text.en", tmp_path / "page.html"
    text.write_text("a bird sings .\n\n  \nthe old man .\n")
    flags = ["--input", str(text), "--out", str(out), "--beam", "1", *SHORT]
    assert main([str(tiny_checkpoints["feedback"]), *flags]) == 0
    assert [one["text"] for one in data_of(out)["sentences"]] == ["a bird sings .", "the old man ."]


@pytest.mark.parametrize(
    "words, reason",
    [
        ([], "there is no sentence to explain: give one in quotes, or `--input`"),
        (["  "], "there is no sentence to explain: give one that is not blank"),
        (["\u200b"], "there is no sentence to explain: give one that is not blank"),
        (["a dog .", "\udcff"], "line 2 cannot be UTF-8"),
        (["x"] * 51, "there are 51 sentences, and a page holds at most 50: give fewer"),
        (["x", "--input", "y"], "exclude each other"),
        (["--input", "nowhere.en"], "there is no file `nowhere.en`"),
        (["x", "--nbest", "9"], "`nbest` is 9: it can be at most `beam`, which is 5"),
        (["x " * 3000], "has more than the"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    words: list[str], reason: str, tiny_checkpoints: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    out = tmp_path / "page.html"
    assert main([str(tiny_checkpoints["feedback"]), *words, "--out", str(out)]) == 1
    *_, told = capsys.readouterr().err.rstrip("\n").split("\n")
    assert told.startswith("error: ")
    assert reason in told
    assert list(tmp_path.iterdir()) == []


def test_the_model_is_not_overwritten(
    tiny_checkpoints: dict[str, Path], capsys: pytest.CaptureFixture
) -> None:
    model = tiny_checkpoints["feedback"]
    before = model.read_bytes()
    assert main([str(model), "x", "--out", str(model)]) == 1
    assert "is the same file as" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_a_page_has_its_bounds(
    tiny_checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(views, "MOST_NUMBERS", 100)
    monkeypatch.setattr(views, "forced", None)  # refused before anything large is computed
    out = tmp_path / "page.html"
    assert main([str(tiny_checkpoints["feedback"]), *LINES, "--out", str(out), *SHORT]) == 1
    assert "the page would hold more than 100 probabilities" in capsys.readouterr().err
    assert not out.exists()
