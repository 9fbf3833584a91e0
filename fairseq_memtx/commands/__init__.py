"""The subcommands of `memtx`: this table is the one list of them.

A module is imported only when its command is called, so that `memtx --help` needs neither torch nor
fairseq. Each has `main(argv) -> int`, which parses the words after its name and returns the exit
status. To add a command, add its module here and a line to the table.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A word after `memtx`.

    Attributes:
        name: the word.
        module: of this package, which does it.
        summary: half a line for `memtx --help`.
    """

    name: str
    module: str
    summary: str


#: By what a user is about to do.
GROUPS: dict[str, tuple[Command, ...]] = {
    "data": (
        Command("prepare", "prepare", "parallel text to fairseq's binarised data"),
        Command("distil", "distil", "a teacher's translations as new training data"),
        Command("schedule", "schedule", "print or plot a length curriculum before training"),
    ),
    "training": (
        Command("decoders", "decoders", "the decoders, their architectures and their flags"),
        Command("train-staged", "train_staged", "a Transformer, then a memory decoder from it"),
        Command("mixture", "mixture", "what the memories of a Feedback decoder are made of"),
        Command("average", "average", "the average of the last or the best checkpoints"),
        Command("adapt", "adapt", "a model with other dictionaries, to be trained on other data"),
    ),
    "translating": (
        Command("translate", "translate", "raw text in, raw text out"),
        Command("explain", "explain", "a page that shows the attention to source and memory"),
        Command("serve", "serve", "translate over HTTP: a page to type into, and JSON"),
        Command("quantize", "quantize", "a checkpoint with weights in eight bits"),
        Command("shortlist", "shortlist", "the likely translations of each word, for speed"),
        Command("hypotheses", "hypotheses", "fairseq-generate's output as text in its order"),
        Command("score", "score", "BLEU, chrF and chrF++ with their signatures, and significance"),
    ),
    "taking a model away": (
        Command("export", "export", "a checkpoint as a folder that opens without fairseq"),
        Command("import", "import_folder", "such a folder as a checkpoint again"),
    ),
    "fairseq": (Command("user-dir", "user_dir", "print the folder for fairseq's `--user-dir`"),),
}


def find(name: str) -> Command | None:
    """The command of this name."""
    return next((one for group in GROUPS.values() for one in group if one.name == name), None)


def names() -> list[str]:
    """The names of all commands, in the order of the help."""
    return [one.name for group in GROUPS.values() for one in group]
