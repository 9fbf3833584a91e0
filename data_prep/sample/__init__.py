"""The embedded sample: a generator of an English-German corpus of documents.

`generate` writes it; ``python -m data_prep.sample`` is its command.  Rooms: `lexicon` (words),
`morphology` (endings), `syntax` (trees), `german` and `english` (trees to text), `phrases`,
`frames`, `growth` and `grammar` (drawing trees, small to large), `combinations` (what training may
not see), `documents` (what *it* refers to), `corpus` (splits, files, statistics), `pronouns`
(scoring the choice of er, sie and es).
"""

from .corpus import (
    DEFAULT_DOCUMENTS,
    DEFAULT_SEED,
    GENERATOR_VERSION,
    Limits,
    SampleError,
    generate,
)

__all__ = [
    "DEFAULT_DOCUMENTS",
    "DEFAULT_SEED",
    "GENERATOR_VERSION",
    "Limits",
    "SampleError",
    "generate",
]
