"""Published tables as CSV and LaTeX hold the same numbers as the page."""

import csv
import io
from pathlib import Path

import pytest

from scripts.shared.other_forms import main, read_tables, to_csv, to_latex
from tests.checkout import CHECKOUT

PAGE = """# Page

| decoder | words/s, batch 1 | state & rest |
| --- | ---: | ---: |
| **feedback** | 1,080 (1,058-1,220) * | 2,049 |
| `transformer_xl` | 995 (903-1,170) |  |

| a |
|---|
| -1.5 (-2.0 - 1.0) |
"""


def test_a_range_becomes_three_columns_of_plain_numbers() -> None:
    first, second = read_tables(PAGE)
    assert to_csv(first) == (
        'decoder,"words/s, batch 1","words/s, batch 1, least","words/s, batch 1, most",'
        "state & rest\n"
        "feedback,1080,1058,1220,2049\n"
        "transformer_xl,995,903,1170,\n"
    )
    assert to_csv(second) == 'a,"a, least","a, most"\n-1.5,-2.0,1.0\n'


def test_latex_escapes_its_own_characters() -> None:
    assert to_latex(read_tables(PAGE)[0]).split("\n")[1:-2] == [
        r"\toprule",
        r"decoder & words/s, batch 1 & state \& rest \\",
        r"\midrule",
        r"\textbf{feedback} & 1,080 (1,058--1,220) * & 2,049 \\",
        r"transformer\_xl & 995 (903--1,170) &  \\",
        r"\bottomrule",
    ]


@pytest.mark.parametrize("path", sorted((CHECKOUT / "results").glob("*/*.md")), ids=str)
def test_every_published_page_converts(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = read_tables(path.read_text(encoding="utf-8"))
    if not found:
        pytest.skip("a page without tables")
    assert main([str(path)]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out.split("\n\n")[0])))
    assert len(rows) == len(found[0]) and len({len(row) for row in rows}) == 1
    assert main([str(path), "--format", "latex", "--table", str(len(found))]) == 0
    assert capsys.readouterr().out.count(r"\begin{tabular}") == 1


def test_a_table_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    assert main([str(tmp_path / "page.md"), "--table", "3"]) == 1
    assert "has 2 tables: there is no number 3" in capsys.readouterr().err
    assert main([str(tmp_path / "none.md")]) == 1
    assert str(tmp_path / "none.md") in capsys.readouterr().err
