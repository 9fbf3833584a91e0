"""A server that runs in a thread, and how to ask it."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import uvicorn

from fairseq_memtx.commands.serve import LOCAL, bound
from fairseq_memtx.serving.app import Server


class Client:
    """Asks a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        """The answer and its body; `body` that is not bytes is sent as JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers = {"content-type": "application/json", **headers}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        answer, content = self.ask(method, path, body, **headers)
        return answer.status, json.loads(content)


@contextmanager
def running(server: Server, hosts: Sequence[str] = LOCAL) -> Iterator[Client]:
    """Serve until the end of the block, on a port of this machine that is free."""
    listening = bound("127.0.0.1", 0)
    config = uvicorn.Config(server.app(hosts), log_level="warning", lifespan="on")
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not web.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Client(listening.getsockname()[1])
    finally:
        web.should_exit = True
        thread.join(30)
        listening.close()
