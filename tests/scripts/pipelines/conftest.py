"""The pipelines' commands, run by this Python."""

import shlex
import sys
from pathlib import Path

import pytest

PROGRAMS = {"fairseq-train": "fairseq_cli.train", "fairseq-generate": "fairseq_cli.generate"}
PROGRAMS |= {"memtx": "fairseq_memtx", "sacrebleu": "sacrebleu"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pipeline's commands, run by this Python."""
    folder = tmp_path_factory.mktemp("programs")
    for name, module in PROGRAMS.items():
        line = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n'
        (folder / name).write_text(line)
        (folder / name).chmod(0o755)
    return folder
