"""Documents through the translate command and the Python API."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fairseq_memtx.commands import translate
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import SearchSettings, Translation, Translator
from tests.checkpoints import write_checkpoint, write_scattered
from tests.choosing import some

DOCUMENTS = [
    ["The old dog sees a cat .", "A bird", "The woman reads the book and sleeps ."],
    ["She buys it .", "He said that it was old ."],
    ["The teacher finds a lamp .", "It is cheap .", "It is new .", "They sleep ."],
    ["A man rides a bicycle ."],
]


@pytest.fixture(scope="module")
def model(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    plain = write_checkpoint(prepared_sample / "bin", folder / "plain.pt", "transformer-xl", 2)
    return write_scattered(plain, folder / "model.pt")


@pytest.fixture(scope="module")
def with_encoder(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose encoder remembers too."""
    path = tmp_path_factory.mktemp("encoder") / "model.pt"
    flags = "--memtx-encoder-memory 12"
    write_checkpoint(prepared_sample / "bin", path, "transformer-xl", 2, flags)
    return write_scattered(path, path)


@pytest.fixture(scope="module")
def translated(model: Path) -> list[list[str]]:
    return Translator.from_pretrained(model).translate_documents(DOCUMENTS)


def command(model: Path, text: Path, *words: object) -> list[str]:
    output = text.with_suffix(".out")
    flags = [model, "--input", text, "--output", output, "--threads", "1", *words]
    assert translate.main(list(map(str, flags))) == 0
    return output.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.fixture
def with_blank_lines(tmp_path: Path) -> Path:
    path = tmp_path / "text.en"
    path.write_text("\n\n".join("\n".join(lines) for lines in DOCUMENTS) + "\n", encoding="utf-8")
    return path


def test_lanes_and_batches_change_nothing(model: Path, translated: list[list[str]]) -> None:
    translator = Translator.from_pretrained(model, search=SearchSettings(batch_size=2))
    done: list[int] = []
    for lanes in (1, 3):
        found = translator.translate_documents(DOCUMENTS, lanes=lanes, progress=done.append)
        assert found == translated
    assert sum(done) == 2 * sum(map(len, DOCUMENTS))
    assert translator.translate_documents([]) == []


def test_an_encoder_that_remembers_does_so_everywhere(with_encoder, with_blank_lines) -> None:
    search = SearchSettings(max_len_a=0, max_len_b=12, batch_size=2)
    translator = Translator.from_pretrained(with_encoder, search=search)
    found = translator.translate_documents(DOCUMENTS)
    alone = [translator.translate(lines) for lines in DOCUMENTS]
    assert translator.translate_documents(DOCUMENTS, lanes=1) == found != alone
    assert translator.translate_documents(DOCUMENTS, context=0) == alone
    gold = [["Ein Hund ." for _ in lines] for lines in DOCUMENTS]
    assert translator.translate_documents(DOCUMENTS, gold=gold) != found
    flags = ("--documents", "blank", "--max-len-a", 0, "--max-len-b", 12, "--block", 2)
    lines = command(with_encoder, with_blank_lines, *flags)
    assert "\n".join(lines) == "\n\n".join("\n".join(lines) for lines in found)
    translator.max_source = 6
    document = ["The old dog sees a cat and a bird .", "", "It is old ."]
    ((first, blank, last),) = translator.translate_documents([document])
    assert blank == "" and first and last
    ((again, without),) = translator.translate_documents([document[::2]])
    assert (again, without) == (first, last)


@pytest.fixture
def by_engine(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each batch that the native engine was asked for, whether it searched it."""
    from fairseq_memtx.native.searches import NativeSearches

    found: list[bool] = []
    searched = NativeSearches.find

    def noted(self: NativeSearches, *args: Any) -> Any:
        hypotheses = searched(self, *args)
        found.append(hypotheses is not None)
        return hypotheses

    monkeypatch.setattr(NativeSearches, "find", noted)
    return found


def test_the_native_engine_searches_unless_it_is_off(
    model: Path, translated: list[list[str]], with_blank_lines: Path, by_engine: list[bool]
) -> None:
    found = {}
    for native in ("on", "off"):
        flags = ("--documents", "blank", "--nbest", 2, "--format", "jsonl", "--native", native)
        lines = [json.loads(line) for line in command(model, with_blank_lines, *flags)]
        found[native] = [told for line in lines for told in line["translations"]]
        texts = [line["translations"][0]["text"] for line in lines]
        assert "\n".join(texts) == "\n\n".join("\n".join(lines) for lines in translated)
        assert bool(by_engine) == (native == "on") and all(by_engine)
        by_engine.clear()
        with_blank_lines.with_suffix(".out").unlink()
    for one, other in zip(*found.values(), strict=True):
        assert one["text"] == other["text"]
        assert one["score"] == pytest.approx(other["score"], rel=2e-5, abs=2e-5)


def test_without_context_it_is_the_translation_of_sentences(model: Path) -> None:
    # A length limit that does not depend on the longest sentence of a batch.
    search = SearchSettings(max_len_a=0, max_len_b=12, native="off")
    translator = Translator.from_pretrained(model, search=search)
    alone = [translator.translate(lines) for lines in DOCUMENTS]
    found = translator.translate_documents(DOCUMENTS)
    assert [lines[0] for lines in alone] == [lines[0] for lines in found]
    assert alone != found
    assert translator.translate_documents(DOCUMENTS, context=0) == alone


def plain_values(found) -> list[list[dict]]:
    return [[asdict(one) for one in some] for some in found]


def test_all_that_is_known_without_context_is_that_of_sentences(model: Path) -> None:
    settings = {"max_len_a": 0, "max_len_b": 12, "native": "off"}
    search = SearchSettings(nbest=3, alignment=True, **settings)
    translator = Translator.from_pretrained(model, search=search)
    found = translator.nbest_documents(DOCUMENTS, context=0)
    for lines, texts in zip(DOCUMENTS, found, strict=True):
        for got, want in zip(texts, translator.nbest(lines), strict=True):
            assert [one.text for one in got] == [one.text for one in want]
            assert [one.word_alignment for one in got] == [one.word_alignment for one in want]
            for a, b in zip(got, want, strict=True):
                assert a.subword_scores == pytest.approx(b.subword_scores, abs=1e-5)
                for row, other in zip(a.attention or (), b.attention or (), strict=True):
                    assert row == pytest.approx(other, abs=1e-5)
    with_memory = translator.nbest_documents(DOCUMENTS)
    assert plain_values(with_memory[0])[0] == plain_values(found[0])[0]
    assert [some[1][0].score for some in with_memory[:3]] != [
        some[1][0].score for some in found[:3]
    ]


def test_the_best_translations_are_remembered(model: Path, translated: list[list[str]]) -> None:
    translator = Translator.from_pretrained(model, search=SearchSettings(nbest=2, batch_size=2))
    found = translator.nbest_documents([*DOCUMENTS, [""]])
    assert [[some[0].text for some in lines] for lines in found[:-1]] == translated
    assert all(len(some) == 2 for lines in found[:-1] for some in lines)
    assert plain_values(found[-1]) == [[asdict(Translation("", 0.0))]]


def test_a_line_in_parts_and_a_blank_one_are_lines(model: Path) -> None:
    translator = Translator.from_pretrained(model)
    translator.max_source = 6
    document = ["The old dog sees a cat and a bird .", "", "It is old ."]
    (found,) = translator.translate_documents([document])
    assert len(found) == 3 and found[1] == "" and found[0] and found[2]
    (without,) = translator.translate_documents([[document[0], document[2]]])
    assert without == [found[0], found[2]]


def test_gold_context_is_remembered(model: Path, translated: list[list[str]]) -> None:
    translator = Translator.from_pretrained(model)
    own = translator.translate_documents(DOCUMENTS, gold=translated)
    assert own == translated
    gold = [["Ein Hund ." for _ in lines] for lines in DOCUMENTS]
    assert translator.translate_documents(DOCUMENTS, gold=gold) != translated
    with pytest.raises(UserError, match="`gold` has 9 lines in 3 documents, but there are 10"):
        translator.translate_documents(DOCUMENTS, gold=gold[:-1])


def test_translations_are_scored_in_context(model: Path, translated: list[list[str]]) -> None:
    translator = Translator.from_pretrained(model, search=SearchSettings(batch_size=2))
    given = [[[line, "Ein Hund ."] for line in lines] for lines in translated]
    found = translator.score_documents(DOCUMENTS, given)
    assert [len(lines) for lines in found] == [len(lines) for lines in DOCUMENTS]
    one_by_one = translator.score_documents(DOCUMENTS, given, lanes=1)
    alone = translator.score_documents(DOCUMENTS, given, context=0)
    for number, lines in enumerate(found):
        for place, scores in enumerate(lines):
            assert scores == pytest.approx(one_by_one[number][place], rel=1e-4)
            same = scores == pytest.approx(alone[number][place], rel=1e-4)
            assert same == (place == 0)
    with_blank = [[*DOCUMENTS[0][:1], "", *DOCUMENTS[0][1:]]]
    given = [[*given[0][:1], [""], *given[0][1:]]]
    (lines,) = translator.score_documents(with_blank, given)
    assert lines[1] == [0.0]
    assert [lines[0], *lines[2:]] == [pytest.approx(scores, rel=1e-4) for scores in found[0]]
    with pytest.raises(UserError, match="`translations` has 2 lines"):
        translator.score_documents(DOCUMENTS, [[["a"], ["b"]]])


def test_blank_lines_end_documents(model, translated, with_blank_lines) -> None:
    found = command(model, with_blank_lines, "--documents", "blank", "--batch-size", 2)
    assert "\n".join(found) == "\n\n".join("\n".join(lines) for lines in translated)
    assert command(model, with_blank_lines, "--documents", "blank", "--context", 0) != found


def test_the_formats_tell_the_same_of_documents(model, translated, with_blank_lines) -> None:
    flags = ("--documents", "blank", "--block", 4)
    more = ("--nbest", 2, "--alignment", "--format")
    objects = [
        json.loads(line) for line in command(model, with_blank_lines, *flags, *more, "jsonl")
    ]
    rows = [line.split("\t") for line in command(model, with_blank_lines, *flags, *more, "columns")]
    sources = with_blank_lines.read_text(encoding="utf-8").split("\n")[:-1]
    assert [one["source"] for one in objects] == sources
    assert [one["line"] for one in objects] == list(range(1, len(sources) + 1))
    texts = [one["translations"][0]["text"] for one in objects]
    assert "\n".join(texts) == "\n\n".join("\n".join(lines) for lines in translated)
    flat = [(one["line"], told) for one in objects for told in one["translations"]]
    for row, (number, told) in zip(rows, flat, strict=True):
        assert row[0] == str(number) and float(row[2]) == told["score"] and row[3] == told["text"]
        assert row[6:] == ([told["alignment"], told["word_alignment"]] if told["text"] else [])


def test_ids_tell_documents_apart(model, translated, tmp_path) -> None:
    text = tmp_path / "text.en"
    lines = [f"{name}\t{line}\n" for name, lines in enumerate(DOCUMENTS) for line in lines]
    text.write_text("".join(lines), encoding="utf-8")
    found = command(model, text, "--documents", "ids", "--block", 1)
    assert found == [line for lines in translated for line in lines]


def test_the_command_remembers_gold(model, translated, with_blank_lines, tmp_path) -> None:
    gold = tmp_path / "gold.de"
    told = [["Ein Hund ." for _ in lines] for lines in DOCUMENTS]
    gold.write_text("\n\n".join("\n".join(lines) for lines in told) + "\n", encoding="utf-8")
    flags = ("--documents", "blank", "--block", 1, "--gold", gold)
    found = command(model, with_blank_lines, *flags)
    wanted = Translator.from_pretrained(model).translate_documents(DOCUMENTS, gold=told)
    assert "\n".join(found) == "\n\n".join("\n".join(lines) for lines in wanted)
    assert wanted != translated


@pytest.mark.parametrize(
    ("lines", "flags", "says"),
    [
        (12, ["--documents", "blank"], "has fewer lines than the input"),
        (14, ["--documents", "blank"], "has more lines than the input"),
        (13, [], "`--gold` does nothing without `--documents`"),
        (0, ["--documents", "blank"], "there is no file `--gold"),
    ],
)
def test_gold_of_another_length_is_told(
    lines, flags, says, model, with_blank_lines, tmp_path, capsys
) -> None:
    gold = tmp_path / "gold.de"
    if lines:
        gold.write_text("Ein Hund .\n" * lines, encoding="utf-8")
    words = [model, "--input", with_blank_lines, "--threads", 1, "--gold", gold, *flags]
    assert translate.main(list(map(str, words))) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("form", some(["text", "columns"], 2))
def test_it_goes_on_after_the_last_whole_document(
    form, model, with_blank_lines, caplog, monkeypatch
) -> None:
    flags = ("--documents", "blank", "--block", 4, "--format", form)
    whole = command(model, with_blank_lines, *flags)
    output = with_blank_lines.with_suffix(".out")
    output.unlink()

    def stop(*words: object, **named: object) -> None:
        raise UserError("stopped")

    written = translate.write_block
    monkeypatch.setattr(translate, "write_block", lambda *words: (written(*words), stop()))
    args = [model, "--input", with_blank_lines, "--output", output, "--threads", 1, *flags]
    assert translate.main(list(map(str, args))) == 1
    monkeypatch.undo()
    part = output.with_name(output.name + ".part")
    assert json.loads(output.with_name(output.name + ".part.json").read_bytes())
    with part.open("ab") as file:
        file.write(b"half a document\nand half a" if form == "text" else b"5\t1\tx\n5\t2")
    caplog.set_level(logging.INFO)
    assert command(model, with_blank_lines, *flags) == whole
    assert "4 lines are translated already" in caplog.text


def test_mistakes_end_in_one_line(model, with_blank_lines, tmp_path, capsys) -> None:
    words = [str(model), "--input", str(with_blank_lines), "--threads", "1"]
    for flags, says in (
        (["--context", "2"], "`--context` does nothing without `--documents`"),
        (["--documents", "blank", "--lanes", "-2"], "`--lanes` is -2: it has to be at least 0"),
        (["--documents", "ids"], "line 1 of the input has no tab"),
        (
            ["--documents", "blank", "--generator", "fairseq"],
            "only --memtx-generator fast translates",
        ),
    ):
        assert translate.main([*words, *flags]) == 1
        told = capsys.readouterr().err.strip().split("\n")[-1]
        assert says in told


def test_a_model_whose_memory_ends_with_its_sentence_is_refused(tiny_checkpoints) -> None:
    for decoder, says in (("feedback", "absolute positions"), ("transformer", "has no memory")):
        translator = Translator.from_pretrained(tiny_checkpoints[decoder])
        with pytest.raises(UserError, match=says):
            translator.translate_documents(DOCUMENTS)
