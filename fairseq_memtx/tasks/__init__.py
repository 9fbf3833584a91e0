"""Adapters: one file for each task registered with fairseq.

fairseq imports these one by one; whichever comes first, all of us is registered.
"""

from fairseq_memtx import plugin  # noqa: F401
