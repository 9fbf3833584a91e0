"""How much is drawn, and from which seed: the environment says so for a long run."""

import os

#: Times as many tries: `MEMTX_RELIABILITY_MORE`.
MORE = int(os.environ.get("MEMTX_RELIABILITY_MORE", "1"))
SEED = int(os.environ.get("MEMTX_FUZZ_SEED", "1"))
