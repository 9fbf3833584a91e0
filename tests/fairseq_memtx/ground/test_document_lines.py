"""Where documents end in a text, and blocks of whole ones."""

import pytest

from fairseq_memtx.ground.document_lines import (
    BOUNDARIES,
    in_blocks,
    split_at_blank_lines,
    split_at_ids,
)
from fairseq_memtx.ground.errors import UserError


def test_blank_lines_end_a_document_and_stay_with_it() -> None:
    lines = ["", "a", "b", " ", "", "c", "d", ""]
    assert list(split_at_blank_lines(lines)) == [[""], ["a", "b", " ", ""], ["c", "d", ""]]
    assert list(split_at_blank_lines([])) == []


def test_ids_in_a_row_are_a_document() -> None:
    lines = ["x\ta", "x\tb\tc", "y\t", "x\td"]
    assert list(split_at_ids(lines)) == [["a", "b\tc"], [""], ["d"]]
    with pytest.raises(UserError, match="line 8 of the input has no tab"):
        list(split_at_ids(["x\ta", "b"], first=7))


@pytest.mark.parametrize("kind", BOUNDARIES)
def test_no_line_is_lost(kind: str) -> None:
    lines = ["1\ta", "1\t", "2\tb", "3\tc"]
    found = [line for document in BOUNDARIES[kind](lines, 1) for line in document]
    assert len(found) == 4


def test_a_block_has_whole_documents() -> None:
    documents = [["a"], ["b", "c"], ["d", "e", "f"], ["g"]]
    assert list(in_blocks(documents, 3)) == [documents[:2], documents[2:3], documents[3:]]
