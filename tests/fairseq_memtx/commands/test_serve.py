"""`memtx serve`: it answers until it is ended, and says in one line why it cannot."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from fairseq_memtx.commands import serve


def test_a_server_answers_until_it_is_ended(tiny_checkpoints: dict[str, Path]) -> None:
    line = [sys.executable, "-m", "fairseq_memtx", "serve", "--port", "0", "--threads", "1"]
    line.append(f"mine={tiny_checkpoints['feedback']}")
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(line, stderr=subprocess.PIPE, text=True))
        stack.callback(process.kill)
        assert process.stderr is not None
        found = None
        for told in process.stderr:
            if found := re.search(r"mine: open (http://127\.0\.0\.1:\d+/) in a browser", told):
                break
        assert found is not None
        request = urllib.request.Request(
            f"{found[1]}v1/translate",
            json.dumps({"lines": ["a bird sings ."]}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            told = json.load(answer)
        assert told["model"] == "mine" and len(told["translations"]) == 1
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    "words, reason",
    [
        (["nowhere.pt"], "there is no model `nowhere.pt`: check the path"),
        (["a={model}", "a={model}"], "two models are called `a`: name one of them"),
        (["{model}", "--host", "256.1.1.1"], "cannot be listened on"),
        (["{model}", "--port", "{taken}"], "cannot be listened on (Address already in use)"),
        (["{folder}"], "error: "),
    ],
)
def test_why_it_cannot_is_said_in_one_line(
    words: list[str], reason: str, tiny_checkpoints: dict[str, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        names = {"model": tiny_checkpoints["feedback"], "folder": tmp_path}
        names["taken"] = other.getsockname()[1]
        assert serve.main(["--port", "0", *(word.format(**names) for word in words)]) == 1
    *_, told = capsys.readouterr().err.rstrip("\n").split("\n")
    assert told.startswith("error: ") and reason in told


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--window", "nan"], ["--seconds", "0"], ["--beam", "0"]]
)
def test_impossible_values_are_usage_errors(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        serve.parse_args(["m.pt", *words])
    assert ended.value.code == 2


def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve.main(["m.pt"]) == 1
    assert "pip install 'fairseq-memtx[serve]'" in capsys.readouterr().err


def test_answers_are_not_held_back_for_company() -> None:
    """asyncio sends at once on sockets that name their protocol; others wait for 40 ms."""
    with serve.bound("127.0.0.1", 0) as listening:
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP
