"""Translation decoders with a memory: a fairseq user-dir (`--user-dir fairseq_memtx`).

Importing the package alone costs nothing: no torch, no fairseq. The models, tasks and repairs are
registered with fairseq by `fairseq_memtx.plugin`, which is imported

- by fairseq itself, which reads `models/` and `tasks/` of a user-dir;
- right here, where fairseq has been imported before us.
"""

import sys

__version__ = "0.1.0"

if "fairseq" in sys.modules:
    from . import plugin  # noqa: F401
