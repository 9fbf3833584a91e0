"""The arrows of the design point one way: who may import whom, read from the source itself."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import CHECKOUT
from tests.imports import imported_modules

#: Lines of a function at most.
SCREEN = 46


def files_of(part: str) -> list[Path]:
    """The Python files of a folder, or the one file that a module is."""
    module = (CHECKOUT / part).with_suffix(".py")
    return [module] if module.is_file() else sorted((CHECKOUT / part).rglob("*.py"))


def imports_under(folder: str, *forbidden: str) -> dict[str, set[str]]:
    """The files of a folder that import anything under the forbidden names, and what."""
    found = {}
    for path in files_of(folder):
        names = imported_modules(path, CHECKOUT)
        bad = {n for n in names if any(n == f or n.startswith(f + ".") for f in forbidden)}
        if bad:
            found[str(path.relative_to(CHECKOUT))] = bad
    return found


PACKAGE = CHECKOUT / "fairseq_memtx"
#: All of the library but the ground floor, on which data_prep stands too.
ABOVE_GROUND = tuple(
    f"fairseq_memtx.{path.stem}"
    for path in PACKAGE.iterdir()
    if path.name not in ("ground", "__init__.py", "__pycache__", "py.typed")
)
#: The parts of the library, from the ground up: none may import from a floor above its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("ground",),
    ("compute",),
    ("modules",),
    ("engine",),
    ("decoding",),
    ("config", "decoders"),
    ("plain",),
    (
        *("repairs", "training", "models", "criterions", "data", "generation", "native", "tasks"),
        *("plugin", "translator", "translation", "checkpoints", "training_log", "folder"),
    ),
    ("explain",),
    ("serving",),
    ("commands",),
)
#: Parts that know nothing of fairseq.
WITHOUT_FAIRSEQ = [*(name for floor in FLOORS[:7] for name in floor), "native", "folder"]


def part_of(name: str) -> str:
    """The file or folder of a part of the library."""
    return f"fairseq_memtx/{name}"


#: The folders of `scripts/`, each of which may import those after it.
SCRIPTS = (
    *("studies", "bench_decoding", "bench_training", "bench_data"),
    *("grid", "experiment", "shared"),
)


@pytest.mark.parametrize(
    "folder, forbidden",
    [
        ("fairseq_memtx", ("data_prep", "scripts", "tests")),
        ("fairseq_memtx/ground", ("torch",)),
        ("data_prep", ("scripts", "tests", *ABOVE_GROUND)),
        ("scripts", ("tests",)),
        *(
            (f"scripts/{folder}", tuple(f"scripts.{name}" for name in SCRIPTS[:number]))
            for number, folder in enumerate(SCRIPTS)
        ),
        ("scripts/experiment/stages", ("scripts.experiment.run",)),
    ],
)
def test_imports_point_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    assert list((CHECKOUT / folder).rglob("*.py")), f"{folder} holds no module"
    assert imports_under(folder, *forbidden) == {}


@pytest.mark.parametrize("number", range(len(FLOORS)))
def test_no_floor_leans_on_one_above(number: int) -> None:
    above = tuple(f"fairseq_memtx.{name}" for floor in FLOORS[number + 1 :] for name in floor)
    for name in FLOORS[number]:
        assert imports_under(part_of(name), *above) == {}


@pytest.mark.parametrize("name", WITHOUT_FAIRSEQ)
def test_what_stands_below_the_adapters_knows_nothing_of_fairseq(name: str) -> None:
    assert imports_under(part_of(name), "fairseq", "fairseq_cli") == {}


def test_every_part_of_the_library_has_its_floor() -> None:
    known = {name for floor in FLOORS for name in floor} | {"__init__", "__main__"}
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__pycache__"} == known


def test_the_sample_generator_needs_nothing_installed() -> None:
    names = set()
    for path in (CHECKOUT / "data_prep" / "sample").rglob("*.py"):
        names |= {name.split(".")[0] for name in imported_modules(path, CHECKOUT)}
    installed = {"numpy", "torch", "fairseq", "sentencepiece", "sacremoses", "sacrebleu", "tqdm"}
    assert names
    assert not names & installed


def test_a_wrong_arrow_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "CHECKOUT", tmp_path)
    folder = tmp_path / "fairseq_memtx" / "modules"
    folder.mkdir(parents=True)
    (folder / "late.py").write_text("def f():\n    from fairseq.models import X\n")
    (folder / "relative.py").write_text("from ..models import feedback\n")
    (folder / "right.py").write_text("import torch\nfrom . import late\nimport fairseq_memtx\n")
    found = imports_under("fairseq_memtx/modules", "fairseq", "fairseq_memtx.models")
    assert found == {
        "fairseq_memtx/modules/late.py": {"fairseq.models.X"},
        "fairseq_memtx/modules/relative.py": {"fairseq_memtx.models.feedback"},
    }


#: Who may open files for writing, besides `ground/writing.py`: under names that it has given, or
#: what is no file of ours at all.
WRITERS = {
    "fairseq_memtx/ground/writing.py",
    "data_prep/extract.py",  # a name of `renamed_together`
    "scripts/shared/benchmark.py",  # the kernel's /proc
}


METHODS = {"write_text", "write_bytes", "rename", "touch", "tofile", "copy2", "copytree"}


def writes(node: ast.AST) -> bool:
    """Whether a call opens a file for writing, or renames one."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name == "open":
        modes = [*node.args, *(word.value for word in node.keywords if word.arg == "mode")]
        texts = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
        return any(isinstance(t, str) and set(t) & set("wax+") and len(t) < 4 for t in texts)
    own = isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "self"
    return isinstance(function, ast.Attribute) and not own and name in METHODS


def writers_in(folder: str) -> set[str]:
    return {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / folder).rglob("*.py")
        if any(map(writes, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }


def test_one_module_opens_files_for_writing() -> None:
    found = set().union(*map(writers_in, ("fairseq_memtx", "data_prep", "scripts")))
    assert found - WRITERS == set()
    assert WRITERS - found == set(), "an exception that is none"


@pytest.mark.parametrize(
    "line",
    ["open(p, 'w')", "p.open('ab')", "p.open(mode='r+b')", "p.write_text(t)", "p.rename(q)"],
)
def test_a_second_way_to_write_would_be_seen(line: str) -> None:
    assert any(map(writes, ast.walk(ast.parse(line))))
    assert not any(map(writes, ast.walk(ast.parse("p.open('rb'); open(p); write_bytes(p, b)"))))


#: Decoders have a name each, with fairseq and without it.
ON_BOTH_SIDES = {"FeedbackDecoder", "TransformerXLDecoder", "CompressiveDecoder"}


def definitions(folder: str, *kinds: type[ast.stmt]) -> list[tuple[Path, Any]]:
    return [
        (path, node)
        for path in files_of(folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds)
    ]


def test_a_class_of_the_library_has_a_name_of_its_own() -> None:
    count = Counter(node.name for _, node in definitions("fairseq_memtx", ast.ClassDef))
    assert len(count) > 100
    assert {name for name, times in count.items() if times > 1} == ON_BOTH_SIDES


@pytest.mark.parametrize("folder", ["fairseq_memtx", "data_prep", "scripts"])
def test_a_function_fits_on_a_screen(folder: str) -> None:
    functions = definitions(folder, ast.FunctionDef, ast.AsyncFunctionDef)
    assert len(functions) > 100
    lines = {
        f"{path.name}: {node.name}": node.end_lineno - node.lineno + 1 for path, node in functions
    }
    assert {name: number for name, number in lines.items() if number > SCREEN} == {}
