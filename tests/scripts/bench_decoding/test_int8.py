"""Eight bits against float: differences of stored texts, with the bootstrap's intervals."""

import json
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import BLEU

from scripts.bench_decoding import int8, quality, run
from scripts.shared.benchmark import read_records

REFERENCES = [f"the {n} dogs play in the deep snow of {n} winters" for n in range(40)]
WORSE = [line.replace("deep", "low") if n % 2 else line for n, line in enumerate(REFERENCES)]


def system(name: str, mode: str, folder: Path, lines: list[str]) -> dict[str, Any]:
    score = {"score": round(BLEU().corpus_score(lines, [REFERENCES]).score, 2)}
    sizes = {"architecture": "feedback", "encoder_layers": 3, "depth": 1}
    return {
        **sizes, "name": f"{name} {mode}", "mode": mode, "checkpoint": name, "bleu": score,
        "hypotheses_sha256": quality.store(folder, lines),
    }  # fmt: skip


@pytest.fixture
def out(tmp_path: Path, monkeypatch: Any) -> Path:
    folder = tmp_path / quality.FOLDER
    folder.mkdir()
    systems = [
        system("a", "fast", folder, REFERENCES),
        system("a", "fast+int8", folder, REFERENCES),
        system("b", "fast", folder, REFERENCES),
        system("b", "fast+int8", folder, WORSE),
    ]
    (tmp_path / "known.json").write_text(json.dumps({"systems": systems}))
    (tmp_path / "test.de").write_text("\n".join(REFERENCES) + "\n")
    monkeypatch.setattr(run, "read_record", lambda path: json.loads(path.read_text()))
    return tmp_path


def flags(out: Path) -> list[str]:
    return ["--records", "known", "--references", str(out / "test.de"), "--out", str(out)]


def test_differences_and_their_mean(out: Path) -> None:
    assert int8.main([*flags(out), "--rounds", "200"]) == 0
    (record,) = read_records(out / "int8.jsonl")
    same, worse = record["systems"]
    assert (same["lines"], same["difference"], same["interval"]) == (0, 0.0, [0.0, 0.0])
    wanted = BLEU().corpus_score(WORSE, [REFERENCES]).score - 100
    assert worse["lines"] == 20
    assert worse["difference"] == pytest.approx(wanted, abs=1e-3)
    least, most = worse["interval"]
    assert least < wanted < most < 0
    (mean,) = record["means"]
    assert mean["models"] == 2 and mean["difference"] == pytest.approx(wanted / 2, abs=1e-3)
    assert mean["interval"] == pytest.approx([least / 2, most / 2], abs=2e-3)
    made = (out / "int8.md").read_text()
    assert "| known | b fast+int8 | b fast | 20 |" in made
    assert int8.main(["--table-only", "--out", str(out)]) == 0
    assert (out / "int8.md").read_text() == made


def test_other_references_are_refused(out: Path, capsys: Any) -> None:
    (out / "test.de").write_text("\n".join(WORSE) + "\n")
    assert int8.main(flags(out)) == 1
    assert "the references are not those of the record known" in capsys.readouterr().err
    (out / "test.de").write_text("one line\n")
    assert int8.main(flags(out)) == 1
    assert "there are 40 lines and 1 references" in capsys.readouterr().err
