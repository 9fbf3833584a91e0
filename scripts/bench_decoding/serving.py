"""A server (`memtx serve`) under load: requests a second, how long they take, what it holds.

``python -m scripts.bench_decoding.serving --model CHECKPOINT --text FILE [--clients 1,8,64]``

The server is a process of its own. Clients are threads of this one, each with a connection that it
keeps; each request is one line of the text, and its answer must be the one that the line has when
it is asked for alone. The server's memory is read before and after each number of clients.

Each number of clients is one line of ``serving.jsonl``; ``serving.md`` is made from the records
alone (``--table-only``).
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import sha256_of, write_bytes
from scripts.shared import benchmark
from scripts.shared.benchmark import add_record, markdown, memory_line, read_records
from scripts.shared.publishing import check_checkout

logger = logging.getLogger(__name__)

SCHEMA = 1
OUT = Path("results/decoding")
NAME = "serving"


class Connection:
    """One client's connection to the server."""

    def __init__(self, port: int) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=120)

    def translate(self, line: str) -> str:
        """The translation of a line."""
        body = json.dumps({"lines": [line]})
        self._http.request("POST", "/v1/translate", body, {"content-type": "application/json"})
        answer = self._http.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise UserError(f"the server answers {answer.status}: {content['error']['message']}")
        return content["translations"][0][0]["text"]

    def is_well(self) -> bool:
        """Whether the server answers."""
        try:
            self._http.request("GET", "/v1/health")
            answer = self._http.getresponse()
            answer.read()
            return answer.status == 200
        except OSError:
            self._http.close()
            return False


class Load:
    """Clients that ask for lines until a number of requests is answered."""

    def __init__(self, port: int, lines: Sequence[str], wanted: Sequence[str]) -> None:
        self.port, self.lines, self.wanted = port, lines, wanted
        self.seconds: list[float] = []
        self.wrong = 0
        self.failed: list[Exception] = []

    def run(self, clients: int, requests: int) -> float:
        """Ask, and return the seconds that all took."""
        numbers = count()
        threads = [
            threading.Thread(target=self._client, args=(numbers, requests)) for _ in range(clients)
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failed:
            raise self.failed[0]
        return time.perf_counter() - start

    def _client(self, numbers: Iterator[int], requests: int) -> None:
        connection = Connection(self.port)
        try:
            while (number := next(numbers)) < requests:
                place = number % len(self.lines)
                start = time.perf_counter()
                found = connection.translate(self.lines[place])
                self.seconds.append(time.perf_counter() - start)
                self.wrong += found != self.wanted[place]
        except Exception as error:  # told by the one who waits for all
            self.failed.append(error)


@contextmanager
def serving(args: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """A server of its own; its port, and its process's number."""
    port = free_port()
    command = [sys.executable, "-m", "fairseq_memtx", "serve", str(args.model)]
    command += ["--port", str(port), "--threads", str(args.threads)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not Connection(port).is_well():
                if process.poll() is not None:
                    raise UserError(
                        f"the server ended with {process.returncode}: try `memtx serve`"
                    )
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()


def free_port() -> int:
    """A port that nobody listens on."""
    import socket

    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


def bench(args: argparse.Namespace) -> None:
    """Measure each number of clients, and make the page."""
    check_checkout(args.out)
    if args.model is None or args.text is None:
        raise UserError("name a `--model` and a `--text` to measure, or give `--table-only`")
    args.out.mkdir(parents=True, exist_ok=True)
    lines = args.text.read_text(encoding="utf-8").removesuffix("\n").split("\n")[: args.lines]
    made_by = benchmark.provenance(f"bench_decoding.{NAME}", args.threads)
    with serving(args) as (port, process):
        alone = Connection(port)
        wanted = [alone.translate(line) for line in lines]  # a warm-up too
        for clients in args.clients:
            record = measured(Load(port, lines, wanted), clients, args.requests, process)
            logger.info("%d clients: %s", clients, record)
            about = {"schema": SCHEMA, "checkpoint": sha256_of(args.model), **made_by}
            record = {**about, **record, "lines": len(lines), "clock": "wall"}
            add_record(args.out / f"{NAME}.jsonl", record, "clients")
    write_page(args.out)


def measured(load: Load, clients: int, requests: int, process: int) -> dict[str, Any]:
    """What a number of clients finds."""
    before = memory_line("VmRSS", process)
    seconds = load.run(clients, requests)
    taken = sorted(load.seconds)
    return {
        "clients": clients,
        "requests": requests,
        "answered": len(taken),
        "wrong": load.wrong,
        "seconds": round(seconds, 3),
        "milliseconds": {
            str(share): round(1000 * taken[min(len(taken) - 1, len(taken) * share // 100)], 2)
            for share in (50, 95, 99)
        },
        "resident_bytes": [before, memory_line("VmRSS", process)],
    }


def write_page(out: Path) -> None:
    """Make the page from the records there are.

    Raises:
        UserError: if there are none, or they are damaged.
    """
    path = out / f"{NAME}.jsonl"
    made = benchmark.made_of(path, read_records(path), page)
    write_bytes(out / f"{NAME}.md", made.encode())


def page(records: Sequence[dict]) -> str:
    """The whole page."""
    first = records[0]
    header = [
        "clients",
        "requests",
        "lost or wrong",
        "requests/s",
        "median ms",
        "95 % ms",
        "99 % ms",
    ]
    rows = []
    for one in records:
        lost = one["requests"] - one["answered"] + one["wrong"]
        times = [f"{one['milliseconds'][share]:.1f}" for share in ("50", "95", "99")]
        rate = f"{one['answered'] / one['seconds']:,.0f}"
        before, after = (f"{size / 2**20:,.0f}" for size in one["resident_bytes"])
        row = [str(one["clients"]), f"{one['requests']:,}", str(lost), rate, *times]
        rows.append([*row, f"{before} to {after}"])
    return "\n".join([
        "# A server under load", "", *markdown([*header, "MiB before, after"], rows, words=0), "",
        f"- `memtx serve`, beam 5, {first['lines']:,} lines in turn, one in a request. Clients keep"
        " their connections, and run on the same machine. An answer is wrong where it is another"
        " than the line's alone.",
        f"- {benchmark.conditions(first)}",
        "",
    ])  # fmt: skip


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding.serving``."""
    parser = benchmark.flags(f"scripts.bench_decoding.{NAME}", __doc__, OUT, rounds=1)
    add = parser.add_argument
    add("--model", type=Path, help="checkpoint or model folder")
    add("--text", type=Path, help="raw text to translate")
    add("--lines", type=command_line.positive_int, default=500, help="of it (default: 500)")
    add("--clients", type=command_line.int_list, default=(1, 8, 64), help="default: 1,8,64")
    add("--requests", type=command_line.positive_int, default=10_000,
        help="for each number of clients (default: 10000)")  # fmt: skip
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding.serving``."""
    return benchmark.main(parse_args(argv), bench, write_page)


if __name__ == "__main__":
    raise SystemExit(main())
