import gzip
from pathlib import Path

import pytest

from data_prep.sgm import convert, read_pairs, read_segments, unescape
from fairseq_memtx.ground.errors import UserError
from tests.corpora import require_corpus

SOURCE = """<srcset setid="t" srclang="any">
<doc docid="news/1" genre="news" origlang="de">
<h1>
<seg id="1">Fish &amp; chips &lt;3 </seg>
</h1>
<p>
<seg id="2"> It cost  3
&#8364;. A&T &notanentity; </seg>
</p>
</doc>
<DOC genre='news' DOCID='news/2'>
<hl><SEG id=1>&quot;Yes&quot;</SEG></hl>
</DOC>
</srcset>
"""
REFERENCE = """<refset setid="t" srclang="any" trglang="de">
<doc sysid="ref" docid="news/2"><seg id="1">„Ja“</seg></doc>
<doc sysid="ref" docid="news/1">
<seg id="2">Es kostete 3 €.</seg><seg id="1">Fisch</seg>
</doc></refset>
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "src.sgm").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "ref.sgm").write_text(REFERENCE, encoding="utf-8")
    return tmp_path / "src.sgm", tmp_path / "ref.sgm"


def test_segments_with_entities_white_space_and_ids(files: tuple[Path, Path]) -> None:
    assert [tuple(segment) for segment in read_segments(files[0])] == [
        ("news/1", "1", "Fish & chips <3"),
        ("news/1", "2", "It cost 3 €. A&T &notanentity;"),
        ("news/2", "1", '"Yes"'),
    ]


def test_references_follow_the_sources_order(files: tuple[Path, Path]) -> None:
    assert [reference.text for _, reference in read_pairs(*files)] == [
        "Fisch",
        "Es kostete 3 €.",
        "„Ja“",
    ]


@pytest.mark.parametrize(
    ("text", "plain"),
    [("&amp;lt;", "&lt;"), ("&#x41;&#66;", "AB"), ("&#xD800;", "&#xD800;"), ("a & b", "a & b"),
     ("&#99999999999;", "&#99999999999;"), ("&copy;", "&copy;")],
)  # fmt: skip
def test_unescape(text: str, plain: str) -> None:
    assert unescape(text) == plain


@pytest.mark.parametrize("missing_in", [0, 1])
def test_a_missing_segment_is_named(files: tuple[Path, Path], missing_in: int) -> None:
    text = files[missing_in].read_text(encoding="utf-8")
    start = text.lower().index("<seg id=1>" if missing_in == 0 else '<seg id="1">„')
    end = text.lower().index("</seg>", start) + len("</seg>")
    files[missing_in].write_text(text[:start] + text[end:], encoding="utf-8")
    name = files[missing_in].name
    with pytest.raises(UserError, match=rf"{name}` lacks document `news/2` segment 1"):
        read_pairs(*files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<doc docid='a'></doc>", "holds no <seg> elements: is it an SGM file"),
        ("<seg id='1'>a</seg>", "line 1: <seg id='1'> is not in a <doc>"),
        ("\n<doc docid='a'><seg id='1'>a</doc>", "line 2: .* has no </seg>"),
        ("<doc docid='a'><seg id='1'>a", "has no </seg>"),
        ("<doc docid='a'></seg>", "follows no <seg>"),
        ("<doc genre='a'><seg id='1'>a</seg></doc>", "has no `docid`"),
        ("<doc docid='a'><seg>a</seg></doc>", "has no `id`"),
        ("<doc docid='a'><seg id='1'>a</seg><seg id='1'>b</seg></doc>", "holds .* twice"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.sgm"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_segments(path)


def test_invalid_utf8_is_located(tmp_path: Path) -> None:
    (tmp_path / "x.sgm").write_bytes(b"<doc docid='a'>\n<seg id='1'>Stra\xdfe</seg></doc>")
    with pytest.raises(UserError, match=r"x\.sgm` line 2 is not UTF-8"):
        read_segments(tmp_path / "x.sgm")


@pytest.mark.parametrize("name", ["newstest2013", "newstest2014"])
def test_real_files_equal_their_plain_text(tmp_path: Path, name: str) -> None:
    folder = require_corpus("wmt14")
    prefix = name if name == "newstest2013" else f"{name}-deen"
    outputs = (tmp_path / "en", tmp_path / "de", tmp_path / "docid")
    source, reference = (
        folder / "sgm" / f"{prefix}-{side}.sgm.gz" for side in ("src.en", "ref.de")
    )
    segments = convert(source, reference, outputs)
    assert segments == {"newstest2013": 3000, "newstest2014": 3003}[name]
    for path in outputs:
        assert path.read_bytes() == gzip.decompress(
            (folder / f"{name}.{path.name}.gz").read_bytes()
        )
