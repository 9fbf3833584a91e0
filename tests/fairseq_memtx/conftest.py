"""Fixtures of the decoders' tests; what they are made of is in `tiny`."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.fairseq_memtx.tiny import build_model


@pytest.fixture
def tiny_model() -> Callable[..., Any]:
    """Make a tiny model in float64: `tiny_model(memtx_memory_span=2)`; see `tiny.build_model`."""
    return build_model


@pytest.fixture
def tiny_decoder() -> Callable[..., Any]:
    """Make the decoder of a tiny model."""
    return lambda **settings: build_model(**settings).decoder
