"""An unknown word gives its place to what it is aligned with."""

from pathlib import Path

import pytest
import torch
from fairseq import utils

from fairseq_memtx import repairs
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.repairs.replaced_unknowns import replaced
from tests.fairseq_memtx.tiny import tiny_dictionary

repairs.apply()

SOURCE = ["Zork", "saw", "Blib"]
HARD = [(0, 0), (2, 1), (1, 2)]
SOFT = [["0.6", "0.3", "0.05", "0.05"], ["0.1", "0.2", "0.3", "0.4"], ["0", "1", "0", "0"],
        ["0.9", "0", "0", "0.1"]]  # fmt: skip


@pytest.mark.parametrize("alignment", [HARD, SOFT])
def test_each_form_of_alignment_is_read(alignment: list) -> None:
    """The end of the source, which has the largest share once, is no word to copy."""
    assert replaced([None, None, "c"], SOURCE, alignment, {}, "<unk>") == ["Zork", "Blib", "c"]
    told = {"Zork": "Kroz", "saw": "no"}
    assert replaced([None, "b", None], SOURCE, alignment, told, "<unk>") == ["Kroz", "b", "no"]


@pytest.mark.parametrize("alignment", [torch.empty(0), None, [], [(7, 0)]])
def test_what_is_not_aligned_stays_unknown(alignment) -> None:
    assert replaced([None, "b"], SOURCE, alignment, {}, "<unk>") == ["<unk>", "b"]
    assert replaced([None], [], [["1"]], {}, "<unk>") == ["<unk>"]


def processed(kind: str = "", **how) -> str:
    dictionary = tiny_dictionary()
    tokens = torch.tensor([dictionary.unk(), 5, dictionary.unk(), dictionary.eos()])
    function = utils.post_process_prediction
    function = getattr(function, kind) if kind else function
    settings = {"alignment": [(1, 0), (0, 1), (2, 2)], "align_dict": {}, **how}
    return function(tokens, " ".join(SOURCE), tgt_dict=dictionary, **settings)[1]


def test_the_rest_is_as_it_was() -> None:
    word = tiny_dictionary()[5]
    assert processed() == f"saw {word} Blib"
    assert processed(align_dict=None) == processed("__wrapped__", align_dict=None)
    assert processed(remove_bpe="sentencepiece") == f"saw{word}Blib"


def test_the_flag_without_a_value_names_no_file(tmp_path: Path) -> None:
    assert utils.load_align_dict("@@ ") == utils.load_align_dict("") == {}
    assert utils.load_align_dict(None) is None
    (tmp_path / "words").write_text("a b\n")
    assert utils.load_align_dict(str(tmp_path / "words")) == {"a": "b"}
    (tmp_path / "words").write_text("a\n")
    for name in ("words", "none"):
        with pytest.raises(UserError, match=f"{name}`.* a text of two words in each line"):
            utils.load_align_dict(str(tmp_path / name))


def test_defect_stock_reads_no_alignment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fails once fairseq does what the flag says."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        utils.load_align_dict.__wrapped__("@@ ")
    with pytest.raises(TypeError):
        processed("__wrapped__")
