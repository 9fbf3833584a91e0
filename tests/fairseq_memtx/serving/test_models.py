"""A server's models find what a translator finds, whatever is asked for and whoever asks too."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fairseq_memtx.commands import export
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.serving.limits import RequestLimits
from fairseq_memtx.serving.models import load_server
from fairseq_memtx.translator import SearchSettings, Translator
from tests.fairseq_memtx.serving.running import Client, running

LINES = ["the old man sees a dog .", "", "a bird sings .", "the dog and the man ."]
WAYS = [
    {},
    {"beam": 1},
    {"beam": 8, "nbest": 3, "lenpen": 0.6},
    {"beam": 4, "nbest": 2, "alignment": True},
]


@pytest.fixture(scope="module")
def client(tiny_checkpoints: dict[str, Path]) -> Iterator[Client]:
    models = {name: tiny_checkpoints[name] for name in ("feedback", "transformer")}
    with running(load_server(models, RequestLimits(window=0.0))) as asking:
        yield asking


@pytest.mark.parametrize("name", ["feedback", "transformer"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_answers_are_those_of_a_translator(
    name: str, way: dict, client: Client, tiny_checkpoints: dict[str, Path]
) -> None:
    search = SearchSettings(**way)
    wanted = Translator.from_pretrained(tiny_checkpoints[name], search=search).nbest(LINES)
    status, answer = client.json("POST", "/v1/translate", {"model": name, "lines": LINES, **way})
    assert status == 200
    for told, found in zip(answer["translations"], wanted, strict=True):
        assert [one["text"] for one in told] == [one.text for one in found]
        assert [one["score"] for one in told] == pytest.approx([x.score for x in found], abs=1e-5)
        for one, other in zip(told, found, strict=True):
            assert one["subwords"] == list(other.subwords)
            if way.get("alignment") and other.text:
                assert one["alignment"] == [list(pair) for pair in other.alignment or ()]
                assert one["word_alignment"] == [list(pair) for pair in other.word_alignment or ()]


def test_company_changes_nothing(client: Client) -> None:
    words = ["the old man sees a dog .", "a dog .", "the dog and the old man and a bird sing ."]

    def ask(number: int) -> list[str]:
        lines, way = [words[number % 3]], WAYS[number % 2]
        _, answer = client.json("POST", "/v1/translate", {"lines": lines, **way})
        return [one["text"] for one in answer["translations"][0]]

    alone = [ask(number) for number in range(12)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, list(range(12)) * 4))
    assert together == alone * 4


def test_models_are_told_with_their_languages(client: Client) -> None:
    _, answer = client.json("GET", "/v1/models")
    told = {one["name"]: one for one in answer["models"]}
    assert told["feedback"]["decoder"] == "feedback"
    assert told["transformer"]["decoder"] == "transformer"
    assert told["feedback"]["source_lang"] and told["feedback"]["explained"]


def test_a_folder_is_served_as_its_checkpoint(
    client: Client, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    assert export.main([str(tiny_checkpoints["feedback"]), "--out", str(folder)]) == 0
    request = {"lines": LINES, "beam": 4, "nbest": 2}
    _, wanted = client.json("POST", "/v1/translate", request)
    with running(load_server({"folder": folder}, RequestLimits(window=0.0))) as asking:
        _, found = asking.json("POST", "/v1/translate", request)
        _, told = asking.json("GET", "/v1/models")
        answer, _ = asking.ask("GET", "/v1/explain?line=a%20bird%20sings%20.&beam=2&nbest=2")
    for one, other in zip(found["translations"], wanted["translations"], strict=True):
        assert [x["subwords"] for x in one] == [x["subwords"] for x in other]
        assert [x["score"] for x in one] == pytest.approx([x["score"] for x in other], abs=1e-5)
    assert answer.status == 200
    (about,) = told["models"]
    assert (about["decoder"], about["explained"]) == ("feedback", True)


def test_attention_is_shown(client: Client) -> None:
    answer, content = client.ask("GET", "/v1/explain?line=a%20bird%20sings%20.&beam=2&nbest=2")
    assert answer.status == 200
    assert re.search(rb'"decoder":"feedback"', content)
    assert client.ask("GET", "/v1/explain?line=" + "x%20" * 900)[0].status == 400


def test_a_beam_wider_than_the_words_is_refused(tiny_checkpoints: dict[str, Path]) -> None:
    translator = Translator.from_pretrained(tiny_checkpoints["feedback"])
    with pytest.raises(UserError, match="--beam is 100000"):
        translator.with_beam(100_000)
    with pytest.raises(UserError, match="`nbest` is 3: it can be at most `beam`"):
        translator.with_beam(2, 3)
    theirs = Translator.from_pretrained(
        tiny_checkpoints["feedback"], search=SearchSettings(generator="fairseq")
    )
    with pytest.raises(UserError, match="`generator` is fairseq"):
        theirs.with_beam(2)
