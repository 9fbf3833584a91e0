"""The order that the tests themselves keep; `README.md` here tells it."""

import re
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.imports import imported_modules

CODE = ("fairseq_memtx", "data_prep", "scripts")
PROGRAMS = (".py", ".sh", ".sbatch")
#: Folders of code that hold data, or modules that are tested through those beside them.
WITHOUT_TESTS = {"data_prep/sample/lexicon"}


def packages(root: Path) -> set[str]:
    """The folders of programs below `root` by their path in it, those of the code alone."""
    files = [path for name in CODE for path in (root / name).rglob("*") if path.suffix in PROGRAMS]
    return {path.parent.relative_to(root).as_posix() for path in files}


def imported_tests(root: Path) -> dict[str, list[str]]:
    """The files that import a test module, and what; a line of code within a string counts."""
    found = {}
    for path in sorted((root / "tests").rglob("*.py")):
        names = imported_modules(path, root)
        names |= set(re.findall(r"from (tests\.[\w.]+) import", path.read_text(encoding="utf-8")))
        own = ".".join(path.relative_to(root).with_suffix("").parts)  # a process started by it
        others = (name for name in names if name != own and not name.startswith(f"{own}."))
        wrong = sorted(name for name in others if re.search(r"(^|\.)test_", name))
        if wrong:
            found[path.relative_to(root).as_posix()] = wrong
    return found


def test_no_test_module_is_imported() -> None:
    """What several need lies in a module without `test_` in its name, beside its users."""
    assert imported_tests(CHECKOUT) == {}


def test_the_folders_are_those_of_the_code() -> None:
    code, tests = packages(CHECKOUT), packages(CHECKOUT / "tests")
    assert tests - code == set(), "a folder of tests that the code has not"
    holding = {
        path.parent.relative_to(CHECKOUT / "tests").as_posix()
        for path in (CHECKOUT / "tests").rglob("test_*.py")
    }
    assert code - holding == WITHOUT_TESTS, "a folder of code without tests of its own"


def test_what_lies_directly_in_the_package_s_folder_is_about_its_own_modules() -> None:
    modules = {path.stem for path in (CHECKOUT / "fairseq_memtx").glob("*.py")}
    tests = {path.stem for path in (CHECKOUT / "tests" / "fairseq_memtx").glob("test_*.py")}
    assert tests
    assert {name.removeprefix("test_") for name in tests} - modules == set()


def test_an_imported_test_would_be_seen(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "scripts"
    folder.mkdir(parents=True)
    (folder / "test_right.py").write_text("from tests.scripts import made_up\nimport pytest\n")
    line = "from {} import x".format("tests.scripts.test_right")  # no such line in this file
    (folder / "late.py").write_text(f"def f():\n    {line}\n")
    (folder / "relative.py").write_text("from . import test_right\n")
    (folder / "started.py").write_text(f'CODE = "{line}"\n')
    assert imported_tests(tmp_path) == {
        "tests/scripts/late.py": ["tests.scripts.test_right", "tests.scripts.test_right.x"],
        "tests/scripts/relative.py": ["tests.scripts.test_right"],
        "tests/scripts/started.py": ["tests.scripts.test_right"],
    }
