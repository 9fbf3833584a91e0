"""Keeping freed memory: fewer page faults where glibc allows it, nothing elsewhere."""

import ctypes
import platform
import subprocess
import sys

import pytest

from fairseq_memtx.engine import host_memory

# Allocates and frees 64 blocks of 4 MiB, three times; prints the page faults of the last time.
PROGRAM = """
import resource, sys, torch
from fairseq_memtx.engine.host_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**20) for _ in range(64)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_used_again_without_page_faults():
    faults = {
        mode: int(subprocess.check_output([sys.executable, "-c", PROGRAM, mode], text=True))
        for mode in ("default", "keep")
    }
    assert faults["keep"] < 100 < faults["default"]


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert host_memory.keep_freed_memory() is False
