"""Suites of ctxpro: forms that translations in context are expected to have."""

import json
from pathlib import Path

import pytest

from fairseq_memtx.commands import expected_forms, score
from fairseq_memtx.commands.expected_forms import ExpectedForm
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import Translator
from tests.checkpoints import write_checkpoint, write_scattered

ENTRIES = [
    {
        "src pronoun": "it",
        "expected": expected,
        "ref segment": "Sie ist neu .",
        "src segment": source,
        "segment id": 3,
        "document id": "de-en/1999/77",
        "rule": rule,
    }
    for source, expected, rule in (
        ("It is new .", "sie", "NOM.FEM"),
        ("He sees it .", "ihn", "ACC.MASC"),
        ("It sleeps .", "er", "NOM.MASC"),
    )
]
INPUTS = ["The lamp is old .<eos> Yes .<eos> It is new .", "He sees it.", "Yes .<eos> It sleeps ."]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.json"
    path.write_text(json.dumps(ENTRIES), encoding="utf-8")
    (tmp_path / "inputs").write_text("".join(line + "\n" for line in INPUTS), encoding="utf-8")
    return path


def test_an_input_is_context_and_the_source(suite: Path) -> None:
    inputs = suite.parent / "inputs"
    forms = expected_forms.read_forms(suite, ENTRIES, inputs, -1)
    assert forms[0] == ExpectedForm(["The lamp is old .", "Yes .", "It is new ."], "sie", "NOM.FEM")
    assert [len(form.sentences) for form in forms] == [3, 1, 2]
    for context, sizes in ((0, [1, 1, 1]), (1, [2, 1, 2]), (9, [3, 1, 2])):
        cut = expected_forms.read_forms(suite, ENTRIES, inputs, context)
        assert [form.sentences for form in cut] == [
            form.sentences[-size:] for form, size in zip(forms, sizes, strict=True)
        ]
    alone = expected_forms.read_forms(suite, ENTRIES, None, -1)
    assert [form.sentences for form in alone] == [[one["src segment"]] for one in ENTRIES]


def test_a_form_is_a_word_whatever_its_case_and_punctuation() -> None:
    assert expected_forms.has_form('Ja, "Sie" ist neu.', "sie")
    assert expected_forms.has_form("Neu ist  sie", "sie")
    assert not expected_forms.has_form("Siebzehn neue .", "sie")
    assert expected_forms.has_form("Er hat sie gesehen.", "sie gesehen")


def test_rules_are_counted_by_themselves() -> None:
    forms = [
        ExpectedForm(["a"], "sie", "F"),
        ExpectedForm(["b"], "sie", "F"),
        ExpectedForm(["c"], "er", "M"),
    ]
    found = expected_forms.accuracy(forms, ["Sie da", "Er da", "Er da"])
    assert found == {
        "lines": 3,
        "right": 2,
        "accuracy": 66.67,
        "rules": {"F": {"lines": 2, "right": 1}, "M": {"lines": 1, "right": 1}},
    }


def test_the_command_counts_the_forms_of_the_translators_documents(
    prepared_sample: Path, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_checkpoint(
        prepared_sample / "bin", suite.parent / "plain.pt", "transformer-xl", 1
    )
    model = write_scattered(plain, suite.parent / "model.pt")
    words = ["--model", str(model), "--contrastive", str(suite), "--threads", "1"]
    inputs = suite.parent / "inputs"
    assert score.main([*words, "--contrastive-inputs", str(inputs)]) == 0
    told = json.loads(capsys.readouterr().out)
    forms = expected_forms.read_forms(suite, ENTRIES, inputs, -1)
    found = Translator.from_pretrained(model).translate_documents([f.sentences for f in forms])
    assert told == expected_forms.accuracy(forms, [lines[-1] for lines in found])
    assert score.main([*words, "--contrastive-documents", str(suite.parent)]) == 1
    assert "ctxpro's has `--contrastive-inputs`" in capsys.readouterr().err


def test_inputs_of_another_suite_are_told(suite: Path) -> None:
    inputs = suite.parent / "inputs"
    with pytest.raises(UserError, match=r"3 lines, but .* has 2 entries: each has to have one"):
        expected_forms.read_forms(suite, ENTRIES[:2], inputs, -1)
    with pytest.raises(UserError, match=r"line 1 of .* does not end with the suite's: He sees it"):
        expected_forms.read_forms(suite, [ENTRIES[1], *ENTRIES[1:]], inputs, -1)
    with pytest.raises(UserError, match="no suite in ctxpro's JSON: KeyError"):
        expected_forms.read_forms(suite, [{"expected": "x"}], None, -1)


def test_inputs_are_for_ctxpro_alone(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = suite.parent / "other.json"
    other.write_text("[]", encoding="utf-8")
    words = ["--model", "m", "--contrastive-inputs", str(suite.parent / "inputs")]
    assert score.main([*words, "--contrastive", str(other)]) == 1
    assert "is for a suite in ctxpro's JSON" in capsys.readouterr().err
    assert score.main([*words, "--contrastive", str(suite.parent / "a.tsv")]) == 1
    assert "`--contrastive-inputs` is for a suite in JSON" in capsys.readouterr().err
