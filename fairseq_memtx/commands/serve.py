r"""Translate over HTTP, for this machine: a page to type into, and JSON.

``memtx serve MODEL [MODEL ...]``, then http://127.0.0.1:8000 in a browser, or

    curl -H 'content-type: application/json' -d '{"lines": ["A man."]}' \
        http://127.0.0.1:8000/v1/translate

Requests that come at the same time share batches. Nothing of a request names a file. Ctrl-C or
SIGTERM end it, after what it has begun.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import socket
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.ground import command_line, cores
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.serving.limits import RequestLimits

logger = logging.getLogger(__name__)

#: Names by which this machine calls itself.
LOCAL = ("localhost", "127.0.0.1", "[::1]")


def serve(args: argparse.Namespace) -> None:
    """Load the models and answer until the end.

    Raises:
        UserError: where a model cannot be used, the address is taken, or what serving needs is not
            installed.
    """
    try:
        import prometheus_client  # noqa: F401  (asked for before anything is loaded)
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            f"serving needs {error.name}, which is not installed:"
            " pip install 'fairseq-memtx[serve]'"
        ) from error
    models = named(args.models)
    listening = bound(args.host, args.port)

    import torch

    from fairseq_memtx.serving.models import load_server

    torch.set_num_threads(args.threads)
    server = load_server(models, limits_of(args), int8=args.int8)
    host, port = listening.getsockname()[:2]
    hosts = [*LOCAL, args.host, *args.allow_host]
    config = uvicorn.Config(
        server.app(hosts), log_level="warning", timeout_keep_alive=20, lifespan="on",
        limit_concurrency=args.connections, server_header=False, timeout_graceful_shutdown=30,
    )  # fmt: skip
    shown = f"[{host}]" if ":" in host else host
    logger.info("%s: open http://%s:%d/ in a browser", ", ".join(models), shown, port)
    uvicorn.Server(config).run(sockets=[listening])


def named(words: Sequence[str]) -> dict[str, Path]:
    """The models by name: what stands before `=`, or else the file's name without its ending.

    Raises:
        UserError: for a name that is there twice, or a file that is not there.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        place = Path(path if equals else word)
        name = name if equals else place.stem
        if not place.exists():
            raise UserError(f"there is no model `{place}`: check the path")
        if name in found:
            raise UserError(f"two models are called `{name}`: name one of them, NAME={place}")
        found[name] = place
    return found


def bound(host: str, port: int) -> socket.socket:
    """The socket that is listened on, before anything takes time.

    Raises:
        UserError: where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's wait off where the protocol is named: 40 ms a request otherwise
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # whoever asks before the models are loaded waits
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"`{host}:{port}` cannot be listened on ({reason}): choose another `--port` or `--host`"
        ) from error
    return listening


def limits_of(args: argparse.Namespace) -> RequestLimits:
    """The limits that the flags tell."""
    names = {field.name for field in dataclasses.fields(RequestLimits)}
    return RequestLimits(**{name: value for name, value in vars(args).items() if name in names})


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx serve``."""
    parser = argparse.ArgumentParser(prog="memtx serve", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("models", nargs="+", metavar="[NAME=]MODEL", help="checkpoints or model folders")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    add("--port", type=int, default=8000, help="0: any that is free (default: 8000)")
    add("--allow-host", action="append", default=[], metavar="NAME",
        help="another name by which the server may be asked, * for any; several times")  # fmt: skip
    add("--int8", action="store_true", help="round the weights to eight bits")
    add("--threads", type=cores.thread_count, default=cores.default_threads(),
        help="default: OMP_NUM_THREADS, or what the process may use")  # fmt: skip
    _add_limits(parser)
    args = parser.parse_args(argv)
    if not 0 <= args.port < 65536:
        parser.error(f"argument --port: {args.port} is no port: it has to be from 0 to 65535")
    if not 0 <= args.window <= 10:
        parser.error(f"argument --window: {args.window} is no wait: it has to be from 0 to 10")
    if not 0 < args.seconds <= 86400:
        parser.error(f"argument --seconds: {args.seconds} has to be above 0, at most a day")
    return args


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """A flag for each of a server's bounds, whose default is that of `RequestLimits`."""
    whole, most = command_line.positive_int, RequestLimits()
    add = parser.add_argument_group("bounds").add_argument
    for name, what in {
        "lines": "of a request at most",
        "characters": "of a line at most",
        "beam": "the widest beam",
        "waiting": "lines that may wait",
        "batch": "lines searched together",
        "connections": "open at once",
    }.items():
        add(
            f"--{name}",
            type=whole,
            default=getattr(most, name),
            help=f"{what} (default: %(default)s)",
        )
    add("--window", type=float, default=most.window,
        help="seconds that a request waits for company (default: %(default)s)")  # fmt: skip
    add("--seconds", type=float, default=most.seconds,
        help="until a request is given up (default: %(default)g)")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx serve``."""
    args = parse_args(argv)
    return command_line.run(lambda: serve(args))
