"""What README and docs/ show and name is there: tables, flags, links, commands, files."""

import argparse
import ast
import contextlib
import importlib
import importlib.util
import inspect
import io
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from fairseq_memtx import config
from fairseq_memtx.commands import find, names
from fairseq_memtx.ground.shell import USER_DIR
from tests.checkout import CHECKOUT as ROOT

PLACES = ("*.md", "docs/*.md", "scripts/*.md", "results/*.md")
PAGES = sorted(path for place in PLACES for path in ROOT.glob(place))
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)
FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.S | re.M)

Table = tuple[list[str], list[list[str]]]
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def tables(text: str) -> Iterator[Table]:
    """The tables of a page: names of the columns, and the rows."""
    for is_table, lines in itertools.groupby(text.split("\n"), lambda line: line.startswith("|")):
        if is_table:
            header, _, *rows = map(cells, lines)
            yield header, rows


def part_of(table: Table, columns: list[str], where: str) -> list[list[str]]:
    """The cells of these columns, in the rows where `column = value` holds (all rows if "")."""
    header, rows = table
    name, _, value = where.partition(" = ")
    chosen = [header.index(column) for column in columns]
    kept = [row for row in rows if not where or row[header.index(name)] == value]
    return [[row[number] for number in chosen] for row in kept]


def code(text: str) -> tuple[list[str], list[str]]:
    """The commands in fenced blocks, lines that go on joined, and what stands in backticks."""
    blocks = FENCED.findall(text)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    rest = FENCED.sub("", text)
    return [line.strip() for line in lines if line], re.findall(r"`([^`\n]+)`", rest)


def code_of_all() -> list[str]:
    return [line for page in PAGES for part in code(text_of(page)) for line in part]


def words_of(line: str) -> list[str]:
    """A command's words up to the first pipe or redirection."""
    words = shlex.split(line, comments=True)
    ends = [number for number, word in enumerate(words) if re.match(r"\d?[<>|;]", word)]
    return words[: min(ends, default=len(words))]


@every_page
def test_tables_are_those_of_the_results(page: Path) -> None:
    marked = re.findall(
        r"<!-- table: (\S+)(?: where (.+?))? -->\n(.*?)\n<!-- end -->", text_of(page), re.S
    )
    for path, where, shown in marked:
        ((columns, rows),) = tables(shown)
        sources = [table for table in tables(text_of(ROOT / path)) if set(columns) <= set(table[0])]
        assert rows
        assert rows in [part_of(table, columns, where) for table in sources], (path, columns)


def test_the_first_page_shows_results() -> None:
    assert "<!-- table: results/" in text_of(ROOT / "README.md")
    assert ".png)" in text_of(ROOT / "README.md")


@every_page
def test_a_table_that_has_the_manual_engine_has_the_plain_loop(page: Path) -> None:
    for _, rows in tables(text_of(page)):
        said = {cell.strip("*`") for row in rows for cell in row}
        assert "manual" not in said or "reference" in said


def test_flags_of_ours_exist() -> None:
    options = [value for value in vars(config).values() if hasattr(value, "__dataclass_fields__")]
    flags = {config.flag(item.name) for kind in options for item in fields(kind)}
    named = {flag for page in PAGES for flag in re.findall(r"--memtx-[a-z0-9-]+", text_of(page))}
    assert named
    assert named <= flags, named - flags


def anchors(page: Path) -> set[str]:
    """What `page#...` may name: the headings as a public host spells them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text_of(page)), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(\s*(?!https?:)([^)\s]+)\s*\)", text_of(page)):
        path, _, anchor = target.partition("#")
        file = page if not path else page.parent / path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_of_docs_is_linked_from_the_first() -> None:
    first = text_of(ROOT / "README.md")
    pages = [name for name in NAMES if name.startswith("docs/")]
    assert pages
    assert [name for name in pages if f"({name})" not in first] == []


def test_every_change_of_fairseq_is_told() -> None:
    from fairseq_memtx.repairs import REPAIRS
    from fairseq_memtx.training import ADDITIONS

    page = tables(text_of(ROOT / "docs/repairs.md"))
    told = {row[0] for head, rows in page if head[0] in ("repair", "addition") for row in rows}
    made = {module.__name__.rpartition(".")[2] for module in (*REPAIRS, *ADDITIONS)}
    assert told == {f"`{name}`" for name in made}


def test_commands_of_memtx_exist() -> None:
    said = re.compile(r"(?<![\w./-])memtx ([a-z][a-z-]+)")
    named = {word for line in code_of_all() for word in said.findall(line)}
    assert {"prepare", "translate", "average"} <= named <= set(names())


def test_modules_to_run_exist() -> None:
    said = re.compile(r"python -m ([\w.]+)|(?<![\w.])(scripts(?:\.\w+)+)")
    named = {max(found) for line in code_of_all() for found in said.findall(line)}
    named = {name for name in named if name.split(".")[0] in ("scripts", "data_prep")}
    named -= {"scripts.X"}  # stands for any of them
    assert {"data_prep", "scripts.experiment"} <= named
    missing = [name for name in named if importlib.util.find_spec(name) is None]
    packages = [name for name in named - set(missing) if (ROOT / name.replace(".", "/")).is_dir()]
    missing += [name for name in packages if importlib.util.find_spec(name + ".__main__") is None]
    assert missing == []


def test_examples_in_python_import_and_call_what_there_is() -> None:
    examples = [code for page in PAGES for code in PYTHON.findall(text_of(page))]
    assert len(examples) > 1
    for code in examples:
        tree = ast.parse(code)
        names: dict[str, object] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = importlib.import_module(node.module)
                names |= {one.name: getattr(module, one.name) for one in node.names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                given = {word.arg: None for word in node.keywords if word.arg}
                inspect.signature(names[node.func.id]).bind(*node.args, **given)  # type: ignore[arg-type]


def test_targets_of_make_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.M)
    named = {word for line in code_of_all() for word in re.findall(r"^make ([a-z-]+)", line)}
    assert {"demo", "test"} <= named <= set(targets)


def test_the_fast_tests_of_make_exist() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--assume-old=venv", "test-fast"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    named = re.findall(r"(tests/[\w/.]+)", shown.stdout)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_files_named_exist() -> None:
    folders = "fairseq_memtx|data_prep|scripts|results|tests|docs|requirements"
    said = re.compile(rf"(?<![\w/.-])((?:{folders})/[\w./-]*\w)(?![\w*<{{])")
    named = {name for line in code_of_all() for name in said.findall(line)}
    named -= {"results/NAME"}  # stands for any of them
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def help_of(words: list[str]) -> str | None:
    """`--help` of one of our commands, by its first words; None for what is not ours."""
    if words[0] == "memtx" and (command := find(words[1])):
        module = f"fairseq_memtx.commands.{command.module}"
    elif words[:2] == ["python", "-m"] and words[2].split(".")[0] == "scripts":
        is_folder = (ROOT / words[2].replace(".", "/")).is_dir()
        module = words[2] + ".run" * is_folder
    else:
        return None
    told, subcommand = io.StringIO(), words[2:3] if words[1] == "prepare" else []
    with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
        importlib.import_module(module).main([*subcommand, "--help"])
    return told.getvalue()


@every_page
def test_flags_of_our_commands_exist(page: Path) -> None:
    lines, spans = code(text_of(page))
    for line in [*lines, *spans]:
        if not re.match(r"memtx [a-z]|python -m scripts\.[a-z]", line):
            continue
        # What follows these is handed on to fairseq.
        line = re.split(r" --(?:train|fairseq)-args", line)[0]
        words = words_of(line)
        told = help_of(words)
        flags = {word.split("=")[0] for word in words if word.startswith("--")}
        unknown = [flag for flag in flags if told and not re.search(rf"{flag}\b", told)]
        assert not unknown, line


@every_page
def test_flags_of_fairseq_train_exist(page: Path) -> None:
    from fairseq import options

    import fairseq_memtx.plugin  # noqa: F401

    for line in code(text_of(page))[0]:
        if not line.startswith("fairseq-train "):
            continue
        words = [word for word in words_of(line)[1:] if word != "..."]
        words = [str(USER_DIR) if word.startswith("$(memtx") else word for word in words]
        if "..." in line:  # a part of a command: what it lacks is added
            words = ["data", "--arch", "transformer", *words]
        parser = options.get_training_parser("translation")
        with contextlib.redirect_stderr(io.StringIO()) as told:
            try:
                args = options.parse_args_and_arch(parser, words)
            except SystemExit:
                pytest.fail(f"{line}\n{told.getvalue()}")
        assert isinstance(args, argparse.Namespace)


#: What makes the example of the first page small enough for a test.
SMALLER = {
    "prepare parallel": "prepare parallel --vocab-size 400",
    "memtx_feedback_iwslt_de_en": "memtx_feedback_tiny",
    "--max-epoch 30": "--max-epoch 5",
}


@pytest.mark.slow
def test_the_example_of_the_first_page_works(prepared_sample: Path, tmp_path: Path) -> None:
    """Line by line as it stands there, but smaller, from a folder away from the checkout."""
    for name, text in (("TRAIN", "work/clean"), ("VALID", "refs/valid"), ("TEST", "refs/test")):
        for lang in ("en", "de"):
            shutil.copy(prepared_sample / f"{text}.{lang}", tmp_path / f"{name}.{lang}")
    marked = re.search(r"<!-- run -->\n```\n(.*?)```", text_of(ROOT / "README.md"), re.S)
    assert marked
    lines = marked[1]
    for shown, smaller in SMALLER.items():
        assert shown in lines
        lines = lines.replace(shown, smaller)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    translated, reference = (text_of(tmp_path / name) for name in ("test.de", "data/refs/test.de"))
    assert translated.count("\n") == reference.count("\n") > 0
    assert '"bleu"' in done.stdout
