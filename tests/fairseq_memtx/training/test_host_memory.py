"""Keeping freed memory: the numbers glibc is given; nothing where there is no glibc."""

import ctypes
import platform
import resource
from types import SimpleNamespace

import pytest
import torch

from fairseq_memtx.training import host_memory


def pretend(monkeypatch, answers):
    """A C library whose mallopt gives these answers; the calls it gets."""
    calls = []

    def mallopt(number, value):
        calls.append((number, value))
        return answers[number]

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    return calls


def test_neither_the_heap_nor_single_blocks_are_given_back(monkeypatch):
    calls = pretend(monkeypatch, {-1: 1, -3: 1})
    assert host_memory.keep_freed_memory()
    assert calls == [(-1, 2**31 - 1), (-3, 32 * 2**20)]


@pytest.mark.parametrize("refused", [-1, -3])
def test_a_refusal_is_told(refused, monkeypatch):
    pretend(monkeypatch, {-1: 1, -3: 1, refused: 0})
    assert not host_memory.keep_freed_memory()


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert host_memory.keep_freed_memory() is False


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_used_again_without_page_faults():
    assert host_memory.keep_freed_memory()
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.ones(2**20) for _ in range(32)]
        del blocks
    # 32 blocks of 4 MiB are 32,768 pages
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4096
