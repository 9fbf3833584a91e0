"""References against wrong variants, in the context of their documents."""

import json
from pathlib import Path

import pytest

from fairseq_memtx.commands import contrastive_scores, score
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import Translator
from tests.checkpoints import write_checkpoint, write_scattered

SUITE = [
    ["a", "The lamp is old .", "Die Lampe ist alt ."],
    ["a", "It is new .", "Sie ist neu .", "Er ist neu .", "Es ist neu ."],
    ["a", "", ""],
    ["b", "It is new .", "Er ist neu .", "Sie ist neu ."],
    ["b", "He sleeps .", "Er schläft ."],
]


@pytest.fixture(scope="module")
def model(prepared_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contrastive")
    plain = write_checkpoint(prepared_sample / "bin", folder / "plain.pt", "transformer-xl", 1)
    return write_scattered(plain, folder / "model.pt")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.tsv"
    path.write_text("".join("\t".join(line) + "\n" for line in SUITE), encoding="utf-8")
    return path


def test_documents_follow_each_other(suite: Path) -> None:
    first, second = contrastive_scores.read_suite(suite)
    assert [line.source for line in first] == ["The lamp is old .", "It is new .", ""]
    assert second[0].translations == ["Er ist neu .", "Sie ist neu ."]


def test_a_tie_is_not_right() -> None:
    found = contrastive_scores.accuracy([[-1.0], [-2.0, -3.0], [-2.0, -2.0], [-5.0, -9.0, -4.0]])
    assert found == {"lines": 4, "contrasted": 3, "variants": 4, "right": 1, "accuracy": 33.33}


@pytest.mark.parametrize("context", [-1, 0])
def test_the_command_counts_what_the_translator_scores(
    context: int, model: Path, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(model), "--contrastive", str(suite), "--context", str(context)]
    assert score.main([*words, "--threads", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    documents = contrastive_scores.read_suite(suite)
    found = Translator.from_pretrained(model).score_documents(
        [[line.source for line in lines] for lines in documents],
        [[line.translations for line in lines] for lines in documents],
        context,
    )
    assert told == contrastive_scores.accuracy([scores for lines in found for scores in lines])
    assert told["contrasted"] == 2 and told["variants"] == 3


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--contrastive", "SUITE"], "`--contrastive` needs `--model`"),
        (["--contrastive", "SUITE", "--source", "s"], "`--source` and `--contrastive` exclude"),
        (["--contrastive", "SUITE", "--model", "m", "--context", "-2"], "at least -1"),
        (["--contrastive", "SUITE", "--model", "m", "--format", "jsonl"], "do nothing with"),
        (["--hypotheses", "h", "--references", "r", "--context", "2"], "does nothing without"),
        (["--contrastive", "SUITE", "--model", "m", "--contrastive-documents", "d"], "in JSON"),
    ],
)
def test_contradictions_are_told(
    flags: list[str], says: str, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score.main([str(suite) if word == "SUITE" else word for word in flags]) == 1
    assert says in capsys.readouterr().err
    with pytest.raises(SystemExit):
        score.main(["--references", "r"])


def test_a_suite_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "suite.tsv"
    path.write_text("a\tb\tc\nd\te\n")
    with pytest.raises(UserError, match="line 2 has 2 columns: it has to have a document's id"):
        contrastive_scores.read_suite(path)
    path.write_text("a\tb\tc\n")
    with pytest.raises(UserError, match="no line with a variant"):
        contrastive_scores.read_suite(path)


def test_the_packed_form_is_context_and_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "suite.tsv"
    lamp = "The lamp is old . <eos> It is new . <eos> Yes ."
    rows = [
        ["1", "1", "correct", "Sie", lamp, "Die Lampe ist alt . <eos> Sie ist neu . <eos> Ja ."],
        ["1", "1", "contrastive", "Sie", lamp, "Die Lampe ist alt . <eos> Er ist neu . <eos> Ja ."],
        ["0", "0", "correct", "Er", "He sleeps .", "Er schläft ."],
        ["0", "0", "contrastive", "Er", "He sleeps .", "Sie schläft ."],
    ]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    first, second = contrastive_scores.read_suite(path)
    assert [line[1:] for line in first] == [
        ("The lamp is old .", ["Die Lampe ist alt ."]),
        ("It is new .", ["Sie ist neu .", "Er ist neu ."]),
    ]
    assert [line[1:] for line in second] == [("He sleeps .", ["Er schläft .", "Sie schläft ."])]
    path.write_text("\t".join(rows[1]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 1 is contrastive, but follows no other line"):
        contrastive_scores.read_suite(path)
    path.write_text("\t".join(["3", *rows[0][1:]]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 1 has no sentence 3"):
        contrastive_scores.read_suite(path)


def test_the_json_takes_its_context_from_the_documents(tmp_path: Path) -> None:
    entry = {
        "document id": "77.de",
        "segment id": 3,
        "src segment": "It is new .",
        "ref segment": "Sie ist neu .",
        "errors": [{"contrastive": "Er ist neu ."}, {"contrastive": "Es ist neu ."}],
    }
    path, folder = tmp_path / "suite.json", tmp_path / "documents" / "1999"
    path.write_text(json.dumps([entry]), encoding="utf-8")
    folder.mkdir(parents=True)
    (folder / "77.en").write_text("Yes .\nThe lamp is old .\nIt is new.\nNo .\n", "utf-8")
    (folder / "77.de").write_text("Ja .\nDie Lampe ist alt .\nSie ist neu.\nNein .\n", "utf-8")
    sentence = ("It is new .", ["Sie ist neu .", "Er ist neu .", "Es ist neu ."])
    (alone,) = contrastive_scores.read_suite(path)
    assert [line[1:] for line in alone] == [sentence]
    (whole,) = contrastive_scores.read_suite(path, tmp_path / "documents")
    assert [line[1:] for line in whole] == [
        ("Yes .", ["Ja ."]),
        ("The lamp is old .", ["Die Lampe ist alt ."]),
        sentence,
    ]
    for context in (0, 1, 9):
        (cut,) = contrastive_scores.read_suite(path, tmp_path / "documents", context)
        assert cut == whole[max(0, 2 - context) :]
    path.write_text(json.dumps([{**entry, "segment id": 2}]), encoding="utf-8")
    with pytest.raises(UserError, match=r"line 2 of .* is not the suite's: It is new"):
        contrastive_scores.read_suite(path, tmp_path / "documents")
    path.write_text(json.dumps([{**entry, "document id": "78.de"}]), encoding="utf-8")
    with pytest.raises(UserError, match=r"has no file `78\.de`"):
        contrastive_scores.read_suite(path, tmp_path / "documents")
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="no line with a variant"):
        contrastive_scores.read_suite(path)
    path.write_text('[{"src segment": "a"}]', encoding="utf-8")
    with pytest.raises(UserError, match="is no suite in ContraPro's JSON"):
        contrastive_scores.read_suite(path)
