"""The comparison of document memories: its data, its commands, a tiny run, and its table."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from data_prep.sample import pronouns
from scripts.shared.report import report
from scripts.studies import documents
from scripts.studies.pronouns import configs as document_configs
from scripts.studies.pronouns import table as document_table
from tests.checkout import CHECKOUT


def test_what_a_system_begins_from_is_trained_before_it() -> None:
    assert document_configs.needed(("feedback", "sentence")) == [
        "transformer-xl-first",
        "sentence",
        "feedback-first",
        "feedback",
    ]
    sizes = document_configs.Sizes()
    for name, training in document_configs.TRAININGS.items():
        words = document_configs.train_command(name, sizes, 1, Path("data"), Path("t"))
        assert words[words.index("--max-update") + 1] == str(sizes.updates(training.parts))
        assert ("--finetune-from-model" in words) == bool(training.begins_from)


def test_pronouns_are_found_on_their_lines(tmp_path: Path) -> None:
    from data_prep.sample.corpus import generate

    generate(tmp_path, 1, 128)
    texts, references, records = documents.held_out(tmp_path)
    assert [len(lines) for lines in texts] == [len(lines) for lines in references]
    one, _, few = documents.held_out(tmp_path, 1)
    assert one == [texts[0], texts[len(texts) // 2]]  # as many documents in each of the sets
    assert 0 < len(few) < len(records) and max(few) <= len(documents.flat(one))
    perfect = documents.scores_of(references, references, records)
    assert perfect["bleu"]["score"] == perfect["document_bleu"]["score"] == 100.0
    for line, line_records in records.items():  # from 1, over both splits
        text = documents.flat(references)[line - 1]
        for wrong in pronouns.contrasts(text, line_records):
            assert not all(pronouns.is_right(wrong, one) for one in line_records)


def test_a_reference_is_right_where_it_is_likelier_than_all_others(tmp_path: Path) -> None:
    from data_prep.sample.corpus import generate

    generate(tmp_path, 1, 320)
    texts, references, records = documents.held_out(tmp_path)

    class Likes:
        """Takes one form of a pronoun for likely."""

        def score_documents(self, texts: list, given: list, context: int) -> list:
            return [[[float("sie" in line.lower().split()) for line in some] for some in lines]
                    for lines in given]  # fmt: skip

    found = documents.contrastive(Likes(), texts, references, records, -1)  # type: ignore[arg-type]
    context = found.pop("context")
    assert context["pronouns"] == sum(
        any(record["distance"] > 0 for record in line) for line in records.values()
    )
    assert 0 < context["right"] < context["pronouns"]
    assert sum(found[name]["pronouns"] for name in found) == len(records)


def made_up(system: str, right: int, contexts: tuple[str, ...] = ("all",)) -> dict:
    counts = {
        name: {"pronouns": 4, "right": right, "share": right / 4} for name in ("1", "2", "context")
    }
    scores = {
        "bleu": {"score": 20.0 + right, "signature": "signature"},
        "document_bleu": {"score": 21.0 + right, "signature": "signature"},
        "pronouns": counts,
        "contrastive": counts,
    }
    return {
        "experiment": "documents-sample",
        "system": system,
        "commit": "0123456789abcdef",
        "dirty": False,
        "sizes": {"documents": 40, "longest": 10, "few": 4, "layers": 1, "dim": 8, "first": 2,
                  "second": 1, "max_tokens": 100},
        "references": counts,
        "beam": 2,
        "versions": {"torch": "2.13"},
        "hardware": {"cpu": "a processor"},
        "training": {"processor_seconds": [60.0, 30.0]},
        "contexts": dict.fromkeys(contexts, scores),
    }  # fmt: skip


def test_the_table_has_a_row_for_each_system_and_the_cuts(tmp_path: Path) -> None:
    cuts = tuple(documents.told(context) for context in document_configs.CONTEXTS)
    for record in (made_up("transformer-xl", 4, cuts), made_up("sentence", 1)):
        path = tmp_path / "records" / f"{record['system']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record))
    (page,) = report(tmp_path)
    text = page.read_text()
    assert text.index("| sentence | 21.00 | 22.00 | 25.0 %") < text.index(
        "| transformer-xl | 24.00"
    )
    assert "| transformer-xl | 100.0 %, 100.0 % |" in text
    assert "| sentence | 25.0 % |  | 25.0 % | 25.0 % |" in text
    assert "sentence 1.5, transformer-xl 1.5" in text
    assert "4 at 1, 4 at 2" in text
    assert document_table.percent(None) == ""


def test_what_begins_from_others_is_trained_after_them() -> None:
    first, later = document_configs.in_order(("sentence", "concatenated-2", "feedback"))
    assert first == ["transformer-xl-first", "feedback-first", "concatenated-2"]
    assert later == ["sentence", "feedback"]


def words_of_the_demo() -> list[str]:
    """The flags of the study with which `make demo` ends."""
    shown = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "--assume-old=venv", "demo"],
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
        capture_output=True,
        text=True,
        check=True,
    )
    line = shlex.split(shown.stdout.replace("\\\n", " ").strip().split("\n")[-1])
    return line[line.index("scripts.studies.documents") + 1 :]


def test_the_demo_ends_with_a_small_document_model_beside_a_sentence_model() -> None:
    args = documents.parse_args(words_of_the_demo())
    assert set(args.systems) == {"sentence", "transformer-xl"}
    assert {0, -1} <= set(args.contexts) and args.jobs == 2
    # beside the demo's runs: results/ is for what is published
    assert args.runs_dir == Path("runs/demo") and args.results_dir.parent == args.runs_dir


SMALL = ["--documents", "40", "--first-updates", "3", "--second-updates", "2", "--beam", "1"]


@pytest.mark.slow
def test_a_tiny_demo_runs_to_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*words_of_the_demo(), *SMALL, "--runs-dir", str(tmp_path)]
    assert documents.main([*words, "--results-dir", str(tmp_path / "results")]) == 0
    shown = capsys.readouterr().out
    assert "| sentence | " in shown and "| transformer-xl | " in shown
    assert "with the memory cut" in shown


@pytest.mark.slow
def test_a_tiny_comparison_runs_to_its_table(tmp_path: Path) -> None:
    words = [*SMALL, "--systems", "sentence,concatenated-2,compressive", "--contexts", "1,all"]
    words += ["--runs-dir", str(tmp_path), "--results-dir", str(tmp_path / "results")]
    for _ in range(2):  # the second time nothing is left to do
        assert documents.main(words) == 0
    table = (tmp_path / "results" / "documents-sample" / "table.md").read_text()
    assert "| compressive |" in table and "| concatenated-2 |" in table
