"""What fairseq's flags promise, tried as commands: works, is refused in one line, or is idle.

Each flag is tried with each decoder and a set of more than one batch by `-m slow`; a few of them,
with one decoder, by default.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from fairseq import options
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset

from scripts.experiment import commands
from scripts.experiment.folders import Run
from tests.checkpoints import TINY, scattered_models, write_language_model
from tests.reliability.fairseq_commands import Ran, run
from tests.reliability.fairseq_flags import FLAGS, GROUPS, IDLE, Case, Place

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("transformer", "feedback", "transformer-xl", "compressive")
#: What is typed into fairseq-interactive.
TYPED = "▁the ▁b ▁s\t▁die\n▁the ▁in es\n▁The ▁the ▁is\n"
#: Tried by default.
FEW = ("--diverse-beam-groups", "--match-source-len", "--pipeline-chunks")


@cache
def groups() -> dict[str, set[tuple[str, ...]]]:
    """fairseq's flags by group, each with all its spellings, from its own parsers."""
    parsers = (options.get_interactive_generation_parser(), options.get_training_parser(),
               options.get_validation_parser())  # fmt: skip
    found: dict[str, set[tuple[str, ...]]] = {name: set() for name in GROUPS}
    for parser in parsers:
        for group in parser._action_groups:
            if group.title in found:
                flags = (tuple(action.option_strings) for action in group._group_actions)
                found[group.title] |= set(flags)
    return found


def test_no_flag_is_forgotten() -> None:
    """A new flag of fairseq's, or one that has gone, is noticed here."""
    known = {flags[0] for some in groups().values() for flags in some}
    assert len(known) > 130
    assert {*FLAGS, *IDLE} == known
    assert not set(FLAGS) & set(IDLE)


def test_each_case_has_its_flag_and_each_spelling_is_tried() -> None:
    spelled = {flags[0]: flags for some in groups().values() for flags in some}
    for flag, cases in FLAGS.items():
        words = [word.split("=")[0] for case in cases for word in case.words.split()]
        assert cases and set(spelled[flag]) & set(words), flag
        tried = [case for case in cases if set(spelled[flag]) & set(re.split("[ =]", case.words))]
        assert tried, flag


def told_in_table(header: str) -> set[str]:
    """The flags in the first column of a table of the documentation."""
    page = (ROOT / "docs" / "repairs.md").read_text(encoding="utf-8")
    rows = page.partition(f"| {header} |")[2].split("\n\n")[0].split("\n")[2:]
    return {flag for row in rows for flag in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_what_does_not_work_is_told() -> None:
    """What works in no command is in the tables of the documentation, and nothing else."""
    assert told_in_table("flags without effect") == set(IDLE)
    never = {flag for flag, some in FLAGS.items() if all(case.refused for case in some)}
    assert told_in_table("flags that are refused") == never | {"--ddp-backend fully_sharded"}


# ---- the commands


@pytest.fixture(scope="module")
def raw(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test set as text, an unknown word at each beginning; in `words` a translation of each."""
    folder = tmp_path_factory.mktemp("raw")
    for language in ("en", "de"):
        content = (data_bin / f"dict.{language}.txt").read_bytes()
        (folder / f"dict.{language}.txt").write_bytes(content)
        dictionary = Dictionary.load(str(data_bin / f"dict.{language}.txt"))
        numbers = MMapIndexedDataset(str(data_bin / f"test.en-de.{language}"))
        texts = (dictionary.string(numbers[i]) for i in range(len(numbers)))
        lines = "".join(f"Zork {text}\n" for text in texts)
        (folder / f"test.en-de.{language}").write_text(lines, encoding="utf-8")
    known = set((folder / "test.en-de.en").read_text(encoding="utf-8").split())
    translated = "".join(f"{word} Kroz\n" for word in sorted(known))
    (folder / "words").write_text(translated, encoding="utf-8")
    (folder / "typed").write_text(TYPED, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def more(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set with a second validation set, and the dictionary of a language model."""
    folder = tmp_path_factory.mktemp("more")
    for path in data_bin.iterdir():
        (folder / path.name).symlink_to(path)
        if path.name.startswith("valid."):
            (folder / path.name.replace("valid.", "valid1.")).symlink_to(path)
    (folder / "dict.txt").symlink_to(data_bin / "dict.de.txt")
    return folder


@pytest.fixture(scope="module")
def models(data_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model of a decoder, whose translations differ from sentence to sentence."""
    folder = tmp_path_factory.mktemp("models")
    return scattered_models(data_bin, folder)


@pytest.fixture(scope="module")
def lm(more: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(more, tmp_path_factory.mktemp("lm") / "lm.pt")


Plain = Callable[[str, str], Ran]


@pytest.fixture(scope="module")
def plain(data_bin: Path, models: Callable[[str], Path]) -> Plain:
    """A command without the flag."""

    @cache
    def ran(command: str, name: str) -> Ran:
        if command not in ("generate", "interactive"):
            return Ran("", "", None)
        return run(command, [str(data_bin), *base(command, name, models(name))], TYPED)

    return ran


def base(command: str, name: str, model: Path) -> list[str]:
    """The words of a command's line that stay the same."""
    words = ["--task", "memtx_translation", "--cpu", "--num-workers", "0", "--no-progress-bar"]
    if command == "train":
        words = commands.train_command(TINY, Path("data"), Path("save"), Run(name, 2, 1))[2:]
        words += ["--max-update", "3", "--max-tokens", "600", "--log-format", "simple"]
    elif command == "validate":
        words += ["--path", str(model), "--max-tokens", "600"]
    else:
        words += ["--path", str(model), "--beam", "2", "--max-len-b", "8"]
        words += ["--batch-size", "5"] if command == "generate" else []
    return words


def cases() -> list:
    """Each flag's cases with each decoder."""
    idle = {flag: (Case(f"{flag} {value}"), Case(f"{flag} {value}", command="train"))
            for flag, value in IDLE.items()}  # fmt: skip
    found = []
    for flag, some in {**FLAGS, **idle}.items():
        for number, case in enumerate(some):
            for name in NAMES:
                fast = flag in FEW and name == "feedback"
                marks = [] if fast else [pytest.mark.slow]
                found.append(
                    pytest.param(flag, case, name, marks=marks, id=f"{flag}-{number}-{name}")
                )
    return found


@pytest.mark.parametrize(("flag", "case", "name"), cases())
def test_a_flag_does_what_it_says_or_is_refused(
    flag: str, case: Case, name: str, data_bin: Path, raw: Path, more: Path, plain: Plain,
    models: Callable[[str], Path], tmp_path: Path, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    places = {"raw": str(raw), "folder": str(tmp_path), "model": str(models(name)), "more": "",
              "data": str(data_bin)}  # fmt: skip
    if "{lm}" in case.words:
        places["lm"] = str(request.getfixturevalue("lm"))
    words = shlex.split(case.words.format(**places))
    uses = more if "{more}" in case.words or "{lm}" in case.words else data_bin
    data = raw if str(raw) in words else uses
    words = [word for word in words if word != str(raw)]
    if flag in IDLE and not known_to(case.command, flag):
        return
    save = [] if case.command != "train" else ["--save-dir", str(tmp_path / "save")]
    line = [str(data), *base(case.command, name, models(name)), *save, *words]
    ran = run(case.command, line, TYPED)
    if case.refused:
        assert ran.refused is not None, ran.log[-1000:]
        assert case.refused in ran.refused and "\n" not in ran.refused
        return
    assert ran.refused is None, ran.refused
    place = Place(tmp_path, plain(case.command, name))
    assert case.holds is None or case.holds(ran, place), told(ran, place)
    if case.command == "train" and "--no-save" not in words and case.holds is None:
        assert place.updates() == 3


def told(ran: Ran, place: Place) -> str:
    """The end of what a command printed and logged, and what it saved."""
    return f"{place.saved}\n{ran.out[-2000:]}\n{ran.log[-2000:]}"


def known_to(command: str, flag: str) -> bool:
    parser = (
        options.get_training_parser() if command == "train" else options.get_generation_parser()
    )
    return flag in parser._option_string_actions
