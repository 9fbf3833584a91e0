"""What the tests of this folder tell of their tries, for the record of a whole run.

They go into the properties of pytest's `--junitxml`; `python -m scripts.studies.reliability` reads
them there. A test that tells nothing is one try.
"""

from collections.abc import Callable


class Tally:
    """Counts the tries of a test, of ours and of stock fairseq under the same fault.

    Args:
        tell: takes the name and the value of a property.
    """

    def __init__(self, tell: Callable[[str, object], None]) -> None:
        self._tell = tell
        self.counts = {"tried": 0, "survived": 0, "stock tried": 0, "stock survived": 0}

    def ours(self, survived: int, tried: int = 1) -> None:
        """Count tries with this package, and how many of them lost nothing."""
        self.counts["tried"] += tried
        self.counts["survived"] += int(survived)

    def stock(self, survived: int, tried: int = 1) -> None:
        """The same with fairseq as it was installed."""
        self.counts["stock tried"] += tried
        self.counts["stock survived"] += int(survived)

    def close(self) -> None:
        """Tell what was counted."""
        for name, count in self.counts.items():
            if self.counts[f"{'stock ' if name.startswith('stock') else ''}tried"]:
                self._tell(name, count)
