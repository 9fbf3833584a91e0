"""Tests that need a CUDA device: marked, and skipped where there is none."""

import pytest
import torch


def gpu(test):
    """A test that needs a GPU."""
    has_none = not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(has_none, reason="needs a CUDA device")(test))
