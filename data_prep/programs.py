"""Programs whose printed values only a changing state can tell: the paper's algorithmic task.

A program is a row of statements over a few variables, then `END`. Where a `print` ends, the value
that it prints is the label of that position; no other position has one (Fan et al. 2020, arXiv
2002.09402, section 4.1; written from the description of the task):

    x = 3 ;  y = 9 ;  x ++ ;  if x < y : y -- ;  print y ;  END
                                                         8

Kinds of statements are drawn with equal weights, and a draw that is impossible is drawn again (that
of a nested statement by itself):

- `V = n ;` with n in 1..10, for a variable that has no value yet;
- `V ++ ;` and `V -- ;`, for one whose value then stays in 1..10;
- `print V ;`
- `if V < W : STATEMENT`, or `>`: W is another variable that has a value or, half of the time, a
  number in 1..10; the statement is none of `if` and `print`, and acts where the condition holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .sample.dice import Dice

#: Raised when other programs, or other files, come of the same seed.
VERSION = 2
LOWEST, HIGHEST = 1, 10
VARIABLES = "xyzprabcd"
KINDS = ("=", "++", "--", "if", "print")
NESTED = ("=", "++", "--")
VALUES = tuple(str(value) for value in range(LOWEST, HIGHEST + 1))
#: In the place of a label.
NO_LABEL = "_"


def vocabulary(variables: int) -> list[str]:
    """Every word that programs over so many variables may have, in an order of its own."""
    return [*VARIABLES[:variables], *VALUES, *KINDS, "<", ">", ":", ";", "END"]


class Program(NamedTuple):
    """The words of a program; `labels` has a value or `NO_LABEL` for each."""

    words: list[str]
    labels: list[str]


@dataclass
class _Writer:
    """Writes one program and runs it at the same time; `values` is the state."""

    variables: str
    dice: Dice
    values: dict[str, int] = field(default_factory=dict)

    def statement(self) -> Program:
        """One more statement, drawn until it is possible; it has acted when this returns."""
        while True:
            if drawn := self._draw():
                return drawn

    def _draw(self) -> Program | None:
        kind = self.dice.pick(KINDS)
        if kind == "print":
            return self._print()
        if kind == "if":
            return self._condition()
        words = self._change(kind, acts=True)
        return _unlabelled(words) if words else None

    def _defined(self) -> str | None:
        """A variable that has a value, None where none has."""
        return self.dice.pick(list(self.values)) if self.values else None

    def _change(self, kind: str, acts: bool) -> list[str] | None:
        """An assignment, or a step up or down; None where it is impossible."""
        if kind == "=":
            free = [name for name in self.variables if name not in self.values]
            if not free:
                return None
            name, value = self.dice.pick(free), self.dice.between(LOWEST, HIGHEST)
            words = [name, "=", str(value), ";"]
        else:
            found = self._defined()
            if found is None:
                return None
            name, value = found, self.values[found] + (1 if kind == "++" else -1)
            if not LOWEST <= value <= HIGHEST:
                return None
            words = [name, kind, ";"]
        if acts:
            self.values[name] = value
        return words

    def _print(self) -> Program | None:
        name = self._defined()
        if name is None:
            return None
        return Program(["print", name, ";"], [NO_LABEL, NO_LABEL, str(self.values[name])])

    def _condition(self) -> Program | None:
        name = self._defined()
        if name is None:
            return None
        sign, other = self.dice.pick("<>"), self._other_side(name)
        if other is None:
            return None
        bound = self.values[other] if other in self.values else int(other)
        holds = self.values[name] < bound if sign == "<" else self.values[name] > bound
        words = None
        while words is None:
            words = self._change(self.dice.pick(NESTED), acts=holds)
        return _unlabelled(["if", name, sign, other, ":", *words])

    def _other_side(self, name: str) -> str | None:
        """What a variable is compared with; None where another variable is asked for in vain."""
        if self.dice.chance(0.5):
            return str(self.dice.between(LOWEST, HIGHEST))
        others = [one for one in self.values if one != name]
        return self.dice.pick(others) if others else None


def _unlabelled(words: list[str]) -> Program:
    return Program(words, [NO_LABEL] * len(words))


def write_program(variables: int, statements: int, dice: Dice) -> Program:
    """A program of so many statements over so many variables."""
    writer = _Writer(VARIABLES[:variables], dice)
    words: list[str] = []
    labels: list[str] = []
    for _ in range(statements):
        more = writer.statement()
        words += more.words
        labels += more.labels
    return Program([*words, "END"], [*labels, NO_LABEL])


def write_split(
    split: str, programs: int, variables: int, statements: int, seed: int
) -> list[Program]:
    """The programs of a split, which depend on its name, the seed and their sizes alone."""
    return [
        write_program(variables, statements, Dice(f"programs {seed} {split} {number}"))
        for number in range(programs)
    ]


def run_program(words: list[str]) -> list[tuple[int, str, int]]:
    """Run a program from its words alone, as a reader would.

    Returns:
        For each `print`: the position of its `;`, the value, and how many positions ago the
        variable got that value (the `;` of the statement that last changed it).

    Raises:
        ValueError: if that is no such program.
    """
    values: dict[str, int] = {}
    changed: dict[str, int] = {}
    printed = []
    start = 0
    while words[start] != "END":
        end = words.index(";", start)
        statement = words[start:end]
        if statement[0] == "if":
            name, sign, other = statement[1:4]
            bound = values[other] if other in values else int(other)
            holds = values[name] < bound if sign == "<" else values[name] > bound
            statement = statement[5:] if holds else []
        if statement and statement[0] == "print":
            name = statement[1]
            printed.append((end, str(values[name]), end - changed[name]))
        elif statement:
            name, kind = statement[:2]
            step = {"=": 0, "++": 1, "--": -1}[kind]
            values[name] = int(statement[2]) if kind == "=" else values[name] + step
            changed[name] = end
        start = end + 1
    if start != len(words) - 1:
        raise ValueError("a program ends with END and holds no other")
    return printed
