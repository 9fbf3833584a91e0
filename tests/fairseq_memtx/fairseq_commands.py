"""fairseq's commands in a process of their own, which need not import torch and fairseq first.

The process comes from the server of `ranks`, which has imported both, and our package. That it is
imported by `--user-dir` too is tested in `test_plugin.py`.
"""

import importlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.checkout import CHECKOUT
from tests.fairseq_memtx.ranks import PRELOADED, ended


def run(command: str, *flags: object, text: str = "") -> subprocess.CompletedProcess[str]:
    """What `fairseq-COMMAND` ends with and writes, as `subprocess.run` tells it.

    Args:
        command: one of fairseq's, such as `train`.
        flags: its command line; what is no text is made one.
        text: its standard input.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    words = [f"fairseq-{command}", *map(str, flags)]
    with TemporaryDirectory() as name:
        streams = [Path(name) / stream for stream in ("stdin", "stdout", "stderr")]
        streams[0].write_text(text, encoding="utf-8")
        process = context.Process(target=_run, args=(command, words, streams))
        process.start()
        (status,) = ended([process], seconds=300)
        assert status is not None, "it still runs"
        told = [stream.read_text(encoding="utf-8") for stream in streams[1:]]
    return subprocess.CompletedProcess(words, status, *told)


def _run(command: str, words: list[str], streams: list[Path]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    os.chdir(CHECKOUT)
    sys.argv = words
    try:
        importlib.import_module(f"fairseq_cli.{command}").cli_main()
    except Exception:
        sys.excepthook(*sys.exc_info())  # which multiprocessing would pass by
        raise SystemExit(1) from None
