"""What may be asked: anything else is refused in one line."""

import json

import pytest

from fairseq_memtx.serving.batching import Wish
from fairseq_memtx.serving.limits import RequestLimits
from fairseq_memtx.serving.requests import RefusedError, asked, told
from fairseq_memtx.translation.results import Translation

LIMITS = RequestLimits(lines=2, characters=10, beam=6)


def test_a_request_with_all_its_fields() -> None:
    body = {"model": "m", "lines": ["a", ""], "beam": 4, "nbest": 2, "lenpen": 1, "alignment": True}
    found = asked(json.dumps(body).encode(), LIMITS)
    assert (found.model, found.lines) == ("m", ["a", ""])
    assert found.wish == Wish(beam=4, nbest=2, lenpen=1, alignment=True)
    assert asked(b'{"lines": []}', LIMITS).wish == Wish()


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "has to be an object"),
        (b"{}", "`lines` has to be a list of texts"),
        (b'{"lines": "a"}', "`lines` has to be a list of texts"),
        (b'{"lines": [1]}', "`lines` has to be a list of texts"),
        (b'{"lines": ["a", "a", "a"]}', "there are 3 lines: a request may have 2"),
        (b'{"lines": ["aaaaaaaaaaa"]}', "line 1 has 11 characters: it may have 10"),
        (b'{"lines": ["a", "\\ud800"]}', "line 2 has half a surrogate pair"),
        (b'{"lines": [], "path": "x"}', "`path` is not known: there are model, lines, beam"),
        (b'{"lines": [], "model": 1}', "`model` has to be the name of a model"),
        (b'{"lines": [], "beam": 2.5}', "`beam` has to be a whole number"),
        (b'{"lines": [], "beam": true}', "`beam` has to be a whole number"),
        (b'{"lines": [], "beam": 7}', "`beam` is 7: it has to be from 1 to 6"),
        (b'{"lines": [], "nbest": 0}', "`nbest` is 0: it has to be from 1 to `beam`, 5"),
        (b'{"lines": [], "lenpen": NaN}', "`lenpen` is nan: it has to be from -10 to 10"),
        (b'{"lines": [], "lenpen": "1"}', "`lenpen` has to be a number"),
        (b'{"lines": [], "alignment": 1}', "`alignment` has to be true or false"),
    ],
)
def test_what_is_no_such_request(body: bytes, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        asked(body, LIMITS)
    assert refused.value.status == 400
    assert reason in refused.value.message
    assert refused.value.told()["error"]["code"] == "invalid"


def test_a_translation_as_it_is_told() -> None:
    one = Translation("Ja", -0.5, ("▁Ja",), (-0.4, -0.6), ("▁yes",), ((0, 0),), ((0, 0),))
    assert told(one) == {
        "text": "Ja",
        "score": -0.5,
        "subwords": ["▁Ja"],
        "subword_scores": [-0.4, -0.6],
        "alignment": [[0, 0]],
        "word_alignment": [[0, 0]],
    }
    assert "alignment" not in told(Translation("Ja", -0.5))
