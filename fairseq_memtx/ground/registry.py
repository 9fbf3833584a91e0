"""Tables of things that one chooses by name: the one place that knows what there is.

Choices and help texts of flags are made from them, so that what is added to a table can be chosen.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

Thing = TypeVar("Thing")


class Registry(dict[str, Thing]):
    """Things by name, each with half a line that says what it is.

    Args:
        what: what one of them is called, such as "compression function".
    """

    def __init__(self, what: str):
        super().__init__()
        self.what = what
        self._says: dict[str, str] = {}
        self._tags: dict[str, frozenset[str]] = {}

    def add(self, name: str, thing: Thing, says: str = "", tags: Iterable[str] = ()) -> Thing:
        """Add a thing.

        Args:
            name: to choose it by.
            thing: it; also returned.
            says: what it is, for help texts.
            tags: what else holds for it; see `tagged`.

        Raises:
            ValueError: where the name is taken.
        """
        if name in self:
            raise ValueError(f"there is a {self.what} `{name}` already: choose another name")
        self[name] = thing
        self._says[name], self._tags[name] = says, frozenset(tags)
        return thing

    def named(
        self, name: str, says: str = "", tags: Iterable[str] = ()
    ) -> Callable[[Thing], Thing]:
        """A decorator that adds what it decorates; see `add`."""
        return lambda thing: self.add(name, thing, says, tags)

    def remove(self, name: str) -> None:
        """Take a thing out again."""
        for table in (self, self._says, self._tags):
            del table[name]

    def tagged(self, tag: str) -> tuple[str, ...]:
        """Names of the things that have this tag."""
        return tuple(name for name in self if tag in self._tags[name])

    def says(self, name: str) -> str:
        """What a thing is."""
        return self._says[name]

    def describe(self) -> str:
        """All of them in words: `a (what it is), b, c (what it is)`."""
        return ", ".join(f"{n} ({self._says[n]})" if self._says[n] else n for n in self)
