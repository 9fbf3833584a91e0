"""The answers of a server whose model is made up: what is asked for, refusals, bounds."""

import base64
import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.serving.app import Served, Server
from fairseq_memtx.serving.batching import SharedBatches, Wish
from fairseq_memtx.serving.limits import RequestLimits
from fairseq_memtx.serving.metrics import Metrics
from fairseq_memtx.translation.results import Translation
from tests.fairseq_memtx.serving.running import Client, running

LIMITS = RequestLimits(lines=3, characters=20, body=500, waiting=4, seconds=2.5, window=0.0)


class Model:
    """Turns lines around; is slow, wrong or without numbers where a line asks for it."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.hold.set()
        self.begun = threading.Event()

    def __call__(self, wish: Wish, lines: Sequence[str]) -> list[list[Translation]]:
        self.begun.set()
        self.hold.wait(10)
        if "user" in lines:
            raise UserError("that cannot be")
        if "nan" in lines:
            raise FloatingPointError("the model gives NaN")
        if "crash" in lines:
            raise RuntimeError("secret detail")
        return [[Translation(line[::-1], -0.5)] * wish.nbest for line in lines]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def client(model: Model) -> Iterator[Client]:
    metrics = Metrics()
    first = SharedBatches(model, LIMITS)
    other = SharedBatches(lambda wish, lines: [[Translation("other", 0.0)] for _ in lines], LIMITS)
    explain = "page of {} {} {}".format
    served = {
        "first": Served({"target_lang": "de"}, first, explain),
        "other": Served({"target_lang": "fr"}, other, explain),
    }
    metrics.watch("first", lambda: first.waiting)(3)
    with running(Server(served, LIMITS, metrics)) as asking:
        yield asking


def test_lines_come_back_in_their_order(client: Client) -> None:
    status, answer = client.json("POST", "/v1/translate", {"lines": ["abc", "", "de"], "nbest": 2})
    assert status == 200
    assert answer["model"] == "first"
    found = answer["translations"]
    assert [[one["text"] for one in some] for some in found] == [["cba"] * 2, [""] * 2, ["ed"] * 2]
    assert found[0][0] == {"text": "cba", "score": -0.5, "subwords": [], "subword_scores": []}


def test_a_model_is_chosen_by_its_name(client: Client) -> None:
    _, answer = client.json("POST", "/v1/translate", {"lines": ["x"], "model": "other"})
    assert answer["translations"][0][0]["text"] == "other"
    status, answer = client.json("POST", "/v1/translate", {"lines": ["x"], "model": "../etc"})
    assert (status, answer["error"]["code"]) == (404, "model")
    assert "['first', 'other']" in answer["error"]["message"]


def test_models_and_health_are_told(client: Client) -> None:
    status, answer = client.json("GET", "/v1/models")
    assert status == 200
    assert [one["name"] for one in answer["models"]] == ["first", "other"]
    assert answer["limits"] == {"lines": 3, "characters": 20, "beam": 20}
    assert client.json("GET", "/v1/health") == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "line, status, code, message",
    [
        ("user", 400, "invalid", "that cannot be"),
        ("nan", 500, "numbers", "the model gives NaN"),
        ("crash", 500, "failed", "the server failed: its log says how"),
        ("x" * 21, 400, "invalid", "line 1 has 21 characters: it may have 20"),
    ],
)
def test_failures_are_told_in_a_line(
    client: Client, line: str, status: int, code: str, message: str
) -> None:
    found = client.json("POST", "/v1/translate", {"lines": [line]})
    assert found == (status, {"error": {"code": code, "message": message}})
    assert client.json("POST", "/v1/translate", {"lines": ["ab"]})[0] == 200, "it goes on"


def test_what_another_sites_page_could_send_is_refused(client: Client) -> None:
    body = b'{"lines": ["x"]}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer, _ = client.ask("POST", "/v1/translate", body, **{"content-type": kind})
        assert answer.status == 415
    answer, _ = client.ask("POST", "/v1/translate", {"lines": ["x"]}, host="evil.example")
    assert answer.status == 400
    answer, _ = client.ask("GET", "/", host="evil.example:8000")
    assert answer.status == 400


def test_unknown_paths_and_methods(client: Client) -> None:
    for path in ("/v1/../../etc/passwd", "/page.py", "/v1/translate/x", "/%2e%2e/setup.py"):
        assert client.ask("GET", path)[0].status == 404
    assert client.ask("GET", "/v1/translate")[0].status == 405
    assert client.ask("DELETE", "/v1/models")[0].status == 405


def test_a_large_body_is_refused_before_its_end(client: Client) -> None:
    assert client.json("POST", "/v1/translate", {"lines": ["x" * 600]})[0] == 413
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as raw:
        head = (
            "POST /v1/translate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        )
        raw.sendall(f"{head}content-length: 1000000000\r\n\r\n".encode() + b" " * 1000)
        assert b" 413 " in raw.recv(1000)


def test_a_body_that_does_not_end_is_given_up(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as raw:
        head = (
            "POST /v1/translate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        )
        raw.sendall(f"{head}content-length: 100\r\n\r\n".encode() + b"{")
        assert b" 408 " in raw.recv(1000)


def test_time_and_the_queue_have_bounds(client: Client, model: Model) -> None:
    model.hold.clear()
    model.begun.clear()
    statuses: list[int] = []

    def ask(lines: list[str]) -> None:
        statuses.append(client.json("POST", "/v1/translate", {"lines": lines})[0])

    first = threading.Thread(target=ask, args=(["held"],))
    first.start()
    assert model.begun.wait(10)
    waiting = threading.Thread(target=ask, args=(["a", "b", "c"],))
    waiting.start()
    deadline = time.monotonic() + 10
    while b'memtx_waiting_lines{model="first"} 3.0' not in client.ask("GET", "/metrics")[1]:
        assert time.monotonic() < deadline
    answer, content = client.ask("POST", "/v1/translate", {"lines": ["a", "b"]})
    assert answer.status == 503 and b"busy" in content
    assert answer.headers["retry-after"] == "1"
    first.join(10)
    waiting.join(10)
    assert statuses == [504, 504]
    model.hold.set()
    assert client.json("POST", "/v1/translate", {"lines": ["ab"]})[0] == 200, "the queue is empty"


def test_the_numbers_are_told(client: Client) -> None:
    client.json("POST", "/v1/translate", {"lines": ["x"]})
    answer, content = client.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = content.decode()
    assert 'memtx_lines_total{model="first"} 3.0' in text
    assert re.search(r'memtx_requests_total{path="/v1/translate",status="200"} [1-9]', text)
    assert re.search(r'memtx_request_seconds_count{path="/v1/translate"} [1-9]', text)


def test_a_page_of_attention_is_asked_for_by_its_address(client: Client) -> None:
    answer, content = client.ask("GET", "/v1/explain?line=a%20b&beam=3&nbest=2&model=other")
    assert answer.status == 200 and content == b"page of a b 3 2"
    for query, reason in (
        ("", b"`line` is blank"),
        ("line=x&beam=x", b"whole numbers"),
        ("line=x&beam=99", b"from 1 to 20"),
        ("line=" + "x" * 21, b"21 characters"),
    ):
        answer, content = client.ask("GET", f"/v1/explain?{query}")
        assert answer.status == 400 and reason in content


def test_the_page_may_run_its_own_script_alone(client: Client) -> None:
    answer, content = client.ask("GET", "/")
    page, policy = content.decode(), answer.headers["content-security-policy"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "http://" not in page and "https://" not in page
