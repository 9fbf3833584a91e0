"""Raw text through the translate command and the Python API, against fairseq-generate."""

import io
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from fairseq_memtx.commands import translate
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.text import read_lines
from tests.checkpoints import write_scattered

SOURCE = ["The old dog sees a cat .", "", "A bird", "The woman reads the book and sleeps ."]


@pytest.fixture(scope="module")
def trained(tiny_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that different sources have different translations."""
    path = tmp_path_factory.mktemp("trained") / "model.pt"
    return write_scattered(tiny_checkpoints["feedback"], path)


@pytest.fixture(scope="module")
def diverged(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives no numbers."""
    import torch

    state = torch.load(trained, weights_only=True)
    state["model"]["decoder.layers.0.fc2.bias"][0] = float("nan")
    path = tmp_path_factory.mktemp("diverged") / "model.pt"
    torch.save(state, path)
    return path


def command(words: Sequence[object]) -> int:
    # A length limit that does not depend on the longest sentence of a batch.
    limit = ["--max-len-a", "0", "--max-len-b", "20"]
    return translate.main([*map(str, words), "--threads", "1", *limit])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.en"
    path.write_text("".join(f"{line}\n" for line in SOURCE), encoding="utf-8")
    return path


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_the_text_is_that_of_fairseq_generate(trained: Path, prepared_sample: Path) -> None:
    from argparse import Namespace

    from fairseq import checkpoint_utils

    from fairseq_memtx.translator import SearchSettings, Translator
    from scripts.shared.measure import System

    raw = lines_of(prepared_sample / "refs" / "test.en")[:12]
    search = SearchSettings(max_len_a=0, max_len_b=20)
    found = Translator.from_pretrained(trained, search=search).translate(raw)

    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(trained)])
    task.load_dataset("test")
    model = str(prepared_sample / "bin" / "sentencepiece.bpe.model")
    bpe = task.build_bpe(Namespace(bpe="sentencepiece", sentencepiece_model=model,
                                   sentencepiece_enable_sampling=False,
                                   sentencepiece_alpha=None))  # fmt: skip
    cfg.generation.max_len_a, cfg.generation.max_len_b = 0, 20
    models[0].eval()
    generator = task.build_generator(models, cfg.generation)
    system = System("stock", models[0], generator, task, bpe.decode)
    dataset = task.dataset("test")
    expected = [
        system.text(system.translate(dataset.collater([dataset[i]]))[0]) for i in range(len(raw))
    ]
    assert found == expected
    assert len(set(found)) > 1


def test_order_blank_lines_and_batches(trained: Path, source: Path, tmp_path: Path) -> None:
    whole, single = tmp_path / "whole.de", tmp_path / "single.de"
    assert command([trained, "--input", source, "--output", whole]) == 0
    assert command([trained, "--input", source, "--output", single, "--batch-size", 1]) == 0
    assert lines_of(whole) == lines_of(single)
    assert len(lines_of(whole)) == len(SOURCE)
    assert [text == "" for text in lines_of(whole)] == [text == "" for text in SOURCE]
    assert sorted(path.name for path in tmp_path.glob("whole*")) == ["whole.de"]


def test_generators_agree_and_a_list_of_all_words_changes_nothing(
    trained: Path, prepared_sample: Path, source: Path, tmp_path: Path
) -> None:
    from fairseq_memtx.commands import shortlist
    from fairseq_memtx.translator import SearchSettings, Translator

    path = tmp_path / "list.npz"
    data = str(prepared_sample / "bin")
    assert shortlist.main([data, "--out", str(path), "--frequent", "999"]) == 0
    limit = {"max_len_a": 0.0, "max_len_b": 20}
    found = [
        Translator.from_pretrained(trained, search=search).translate(SOURCE)
        for search in (
            SearchSettings(**limit, generator="fairseq"),
            SearchSettings(**limit, generator="fast"),
            SearchSettings(**limit, generator="fast", shortlist=str(path)),
        )
    ]
    assert found[0] == found[1]
    # words that the training text never has are not in the list
    assert len(found[2]) == len(SOURCE) and found[2][1] == ""
    with pytest.raises(ValueError, match=r"--memtx-generator is .* it has to be fast"):
        SearchSettings(generator="fairseq", shortlist=str(path))


def test_an_interrupted_translation_goes_on(trained: Path, source: Path, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from fairseq_memtx.translator import Translator

    words = [trained, "--input", source, "--output", tmp_path / "out.de", "--block", 2]
    original, seen = Translator.translate, []

    def interrupted(self, lines, progress=None, first=0):
        seen.append(list(lines))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(self, lines, progress, first)

    monkeypatch.setattr(Translator, "translate", interrupted)
    assert command(words) == 130
    part = tmp_path / "out.de.part"
    assert len(lines_of(part)) == 2 and not (tmp_path / "out.de").exists()
    with part.open("ab") as file:
        file.write(b"half a li")  # as a kill may leave it
    assert command(words) == 0
    assert [lines[0] for lines in seen] == [SOURCE[0], SOURCE[2], SOURCE[2]]
    again = tmp_path / "again.de"
    assert command([*words[:3], "--output", again, "--block", 2]) == 0
    assert again.read_bytes() == (tmp_path / "out.de").read_bytes()


def test_other_settings_begin_anew(trained: Path, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.de"
    (tmp_path / "out.de.part").write_text("of another model\n")
    (tmp_path / "out.de.part.json").write_text(json.dumps({"inputs": "other"}))
    assert command([trained, "--input", source, "--output", output]) == 0
    assert "of another model" not in lines_of(output)


def test_standard_input_and_output(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO("A dog .\u2028\nA cat .\n".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert command([trained]) == 0
    assert capfdbinary.readouterr().out.count(b"\n") == 2


class Gone(io.StringIO):
    """A standard output whose reader has gone."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.fileno = file.fileno  # type: ignore[method-assign]
        self.buffer = self

    def write(self, text: object) -> int:
        raise BrokenPipeError


def test_a_reader_that_goes_and_an_interruption(
    trained: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from fairseq_memtx.translator import Translator

    with (tmp_path / "stdout").open("wb") as file, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", Gone(file))
        assert command([trained, "--input", source]) == 1
        os.write(file.fileno(), b"lost")  # as what Python has left when it exits
    assert "reader of the translation has gone" in capsys.readouterr().err.split("\n")[-2]
    assert (tmp_path / "stdout").read_bytes() == b""

    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Translator, "translate", interrupted)
    with pytest.raises(SystemExit, match="130"):
        command([trained, "--input", source])
    assert "only with `--output`" in capsys.readouterr().err.split("\n")[-2]


def test_progress_counts_every_line_once(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    from fairseq_memtx.translator import SearchSettings, Translator

    search = SearchSettings(beam=1, max_len_a=0, max_len_b=3, batch_size=2)
    translator, seen = Translator.from_pretrained(trained, search=search), []
    translator.max_source = 6
    translator.translate(["", *SOURCE, SOURCE[0]], seen.append, first=40)
    assert seen[0] == 2 and sum(seen) == len(SOURCE) + 2
    assert "line 42:" in caplog.text


def test_threads_have_batches_of_their_own_and_change_nothing(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from fairseq_memtx.native.searches import NativeSearches
    from fairseq_memtx.translator import SearchSettings, Translator

    at_once: list[int] = []
    asked = NativeSearches.search_at_once

    def noted(self: NativeSearches, *args: Any) -> int:
        at_once.append(asked(self, *args))
        return at_once[-1]

    monkeypatch.setattr(NativeSearches, "search_at_once", noted)
    search = SearchSettings(max_len_a=0, max_len_b=20, batch_size=2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            translator = Translator.from_pretrained(trained, search=search)
            found.append(translator.translate([*SOURCE, *SOURCE[::-1], "A man"]))
        diverged = Translator.from_pretrained(trained, search=search)
        with torch.no_grad():
            diverged.models[0].decoder.layers[0].fc2.bias.fill_(float("nan"))
        with pytest.raises(FloatingPointError, match="the model has diverged"):
            diverged.translate(SOURCE * 3)
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    assert at_once == [1, 2, 4, 5]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_is_answered_between_batches(trained: Path, threads: int) -> None:
    import torch

    from fairseq_memtx.translator import SearchSettings, Translator

    search = SearchSettings(max_len_a=0, max_len_b=200, batch_size=1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        translator = Translator.from_pretrained(trained, search=search)
        wanted, finished = translator.translate(SOURCE), list[int]()
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            translator.translate(SOURCE * 5000, finished.append)
        assert sum(finished) < 5000
        assert translator.translate(SOURCE) == wanted
    finally:
        timer.cancel()
        torch.set_num_threads(before)


def test_a_single_text_in_place_of_lines_is_refused(trained: Path) -> None:
    from fairseq_memtx.ground.errors import UserError as ModelError
    from fairseq_memtx.translator import SearchSettings, Translator

    search = SearchSettings(max_len_a=0, max_len_b=3)
    translator = Translator.from_pretrained(trained, search=search)
    assert translator.translate(iter(["A bird"])) == translator.translate(["A bird"])
    with pytest.raises(ModelError, match="it has to be a list of sentences"):
        translator.translate("A bird")


def test_fairseqs_generator_is_fairseqs_whatever_the_training_asked_for(
    trained: Path, tmp_path: Path
) -> None:
    import torch
    from fairseq.sequence_generator import SequenceGenerator

    from fairseq_memtx.translator import SearchSettings, Translator

    state = torch.load(trained, weights_only=True)
    state["cfg"]["task"]["memtx_generator"] = "fast"
    path = tmp_path / "model.pt"
    torch.save(state, path)
    translator = Translator.from_pretrained(path, search=SearchSettings(generator="fairseq"))
    assert type(translator.generator) is SequenceGenerator


def test_long_lines_are_cut_between_words_and_nothing_is_lost() -> None:
    from fairseq_memtx.ground.text import cut_between_words

    pieces = ["\u2581a", "b", "\u2581c", "d", "\u2581e", "f", "g", "h", "i", "j"]
    parts = list(cut_between_words(pieces, 4))
    assert parts == [["\u2581a", "b", "\u2581c", "d"], ["\u2581e", "f", "g", "h"], ["i", "j"]]
    assert list(cut_between_words([], 4)) == []


def test_a_line_longer_than_the_model_takes(trained: Path, caplog) -> None:
    from fairseq_memtx.translator import Translator

    translator = Translator.from_pretrained(trained)
    translator.max_source = 6
    (text,) = translator.translate(["The old dog sees a cat and the woman reads a book ."])
    assert text and "parts" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no.pt"], "there is no checkpoint `no.pt`"),
        (["{model}", "--input", "no.en"], "there is no file `--input no.en`"),
        (["{model}", "--shortlist", "no.npz"], "there is no file `--shortlist no.npz`"),
        (["{model}", "--output", "out"], "`--output` needs `--input`"),
        (
            ["{model}", "--data", "nowhere"],
            "sentencepiece.bpe.model and the dictionaries are not in `nowhere`",
        ),
        (["{model}", "--input", "{bad}"], "line 2 of the input is not UTF-8"),
        (["{model}", "--input", "{bad}", "--output", "{bad}"], "bad`, which is read"),
        (
            ["{model}", "--input", "{bad}", "--output", "{folder}"],
            "is a folder: name a file",
        ),
        (["{model}", "--input", "{bad}", "--output", "{bad}/x"], "is a file, not a folder"),
        (["{model}", "--device", "nothing"], "`device` is nothing: it has to be cpu, or a GPU"),
        (["{model}", "--lenpen", "nan"], "`lenpen` is nan: it has to be from -10.0 to 10.0"),
        (["{model}", "--int8", "--half"], "leave half precision out"),
        (["{bad}"], "is no whole checkpoint"),
        (["{empty}"], "cannot be read as a checkpoint of fairseq's"),
        (["{model}", "--data", "{folder}"], "dict.en.txt`: it has to be a dictionary of fairseq"),
        (["{diverged}", "--input", "{good}"], "has NaN or infinite values"),
    ],
)
def test_errors_in_one_line(words, message, trained, diverged, tmp_path, capsys) -> None:
    import torch

    files = {name: tmp_path / name for name in ("bad", "good", "empty", "folder")}
    files["bad"].write_bytes(b"good\n\xff\n")
    files["good"].write_bytes(b"good\n")
    torch.save({"model": {}}, files["empty"])
    files["folder"].mkdir()
    model = Path(torch.load(trained, weights_only=True)["cfg"]["task"]["data"])
    shutil.copy(model / "sentencepiece.bpe.model", files["folder"])
    filled = [word.format(model=trained, diverged=diverged, **files) for word in words]
    assert command(filled) == 1
    error = capsys.readouterr().err.split("\n")[-2]
    assert error.startswith("error: ") and message in error


@pytest.mark.parametrize(
    "name, value",
    [("beam", 0), ("lenpen", math.inf), ("max_len_a", math.inf), ("max_len_a", math.nan),
     ("max_len_b", -1)],
)  # fmt: skip
def test_impossible_options_of_the_search_are_refused(name: str, value: float) -> None:
    from fairseq_memtx.ground.errors import UserError as ModelError
    from fairseq_memtx.translator import SearchSettings

    with pytest.raises(ModelError, match=f"`{name}` is {value}: it has to be"):
        SearchSettings(**{name: value})


def test_the_input_must_have_what_was_translated(trained: Path, source: Path, tmp_path: Path):
    with pytest.raises(UserError, match="is not UTF-8"):
        list(read_lines(io.BytesIO(b"\xff\n")))
