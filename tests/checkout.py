"""Where this checkout lies, for tests that read or run what is in it."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "results"
