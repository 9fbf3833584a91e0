"""Scores agree with sacreBLEU's own command line, and say under which settings."""

import json
import subprocess
import sys

import pytest

from fairseq_memtx.commands import score
from fairseq_memtx.ground.errors import UserError

REFERENCES = ["Der Hund läuft über die Straße.", "Zwei Männer spielen im Park Fußball.", "Nein!"]
HYPOTHESES = ["Der Hund rennt über die Straße.", "Zwei Männer spielen Fußball im Park.", "Nein!"]
SOURCES = ["The dog runs across the street.", "Two men play football in the park.", "No!"]


@pytest.mark.parametrize("words", [0, 2])
def test_scores_equal_the_command_line_tool(tmp_path, words: int) -> None:
    reference, hypothesis = tmp_path / "r", tmp_path / "h"
    reference.write_text("\n".join(REFERENCES) + "\n", encoding="utf-8")
    hypothesis.write_text("\n".join(HYPOTHESES) + "\n", encoding="utf-8")
    tool = [sys.executable, "-m", "sacrebleu", str(reference), "-i", str(hypothesis)]
    tool += ["-m", "bleu", "chrf", "--width", "2", "--chrf-word-order", str(words)]
    found = {
        item["name"]: item
        for item in json.loads(subprocess.run(tool, capture_output=True, check=True).stdout)
    }
    ours = score.score(HYPOTHESES, REFERENCES)
    assert ours["bleu"]["score"] == found["BLEU"]["score"]
    name = "chrF2" + "+" * words
    assert ours["chrf" + "+" * words]["score"] == found[name]["score"]
    assert f"nw:{words}" in ours["chrf" + "+" * words]["signature"]
    assert ours["bleu"]["signature"] == found["BLEU"]["signature"]
    assert "tok:13a" in ours["bleu"]["signature"]


def test_a_perfect_translation() -> None:
    found = score.score(REFERENCES, REFERENCES)
    assert found["bleu"]["score"] == found["chrf"]["score"] == 100
    assert found["length_ratio"] == 1
    assert found["lines"] == 3


def test_unequal_counts_are_refused() -> None:
    with pytest.raises(UserError, match=r"have 2 lines, but the references have 3"):
        score.score(HYPOTHESES[:2], REFERENCES)
    with pytest.raises(UserError, match="there are no references"):
        score.score([], [])


def test_bootstrap_tells_a_better_system_from_a_hardly_different_one() -> None:
    references, hypotheses = REFERENCES * 10, HYPOTHESES * 10
    better = score.compare(SOURCES * 10, hypotheses, references)
    assert better["difference"] > 20
    assert better["p_value"] < 0.01
    close = score.compare(hypotheses, [REFERENCES[0], *hypotheses[1:]], references)
    assert 0 < close["difference"] < better["difference"]
    assert close["p_value"] > 0.05


def test_command_reports_copying_the_source(tmp_path, capsys) -> None:
    for name, lines in (("h", HYPOTHESES), ("r", REFERENCES), ("s", SOURCES)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    argv = ["--hypotheses", str(tmp_path / "h"), "--references", str(tmp_path / "r")]
    assert score.main([*argv, "--source", str(tmp_path / "s")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["copying_the_source"] < found["bleu"]["score"]
