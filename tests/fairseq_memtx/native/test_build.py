"""Compiling the library, and when it is compiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairseq_memtx.native import build

#: Signed numbers count and index here, hence no warnings where they meet sizes.
WARNINGS = (
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wno-sign-conversion"),
    *("-Wshadow", "-Werror"),
)


def fake_compiler(folder: Path, says: str = "", fails: bool = False) -> Path:
    """A program that writes what it is asked for, and notes that it ran."""
    program = folder / "c++"
    program.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo fake; exit; fi\n'
        f"echo run >> {folder}/runs\n"
        f"echo '{says}' >&2\n"
        + ("exit 1\n" if fails else 'while [ "$1" != -o ]; do shift; done; echo made > "$2"\n')
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(build, "SHIPPED", tmp_path / "nothing")
    return tmp_path / "cache"


def test_it_is_compiled_once(cache: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path)))
    path = build.library()
    count = len((tmp_path / "runs").read_text().split())
    assert path.read_text() == "made\n"
    assert build.library() == path
    assert len((tmp_path / "runs").read_text().split()) == count
    assert sorted(p.suffix for p in cache.iterdir()) == [".lock", ".so"]


def test_two_processes_do_not_compile_it_twice(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path)))
    # Programs of their own: a process forked from a test's, which has threads, may wait for ever.
    program = "from fairseq_memtx.native import build; print(build.library())"
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    found = [process.communicate(timeout=60)[0] for process in started]
    assert found[0] == found[1]
    assert Path(found[0].strip()).read_text() == "made\n"
    expected = len(build.units("x86_64")) + 1
    assert len((tmp_path / "runs").read_text().split()) == expected


def test_other_sources_and_compilers_make_other_libraries(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    program = [str(fake_compiler(tmp_path))]
    first, flags = build.full_key(program), build.full_key([*program, "-fsanitize=address"])
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    second = build.full_key(program)
    changed = tmp_path / "src"
    shutil.copytree(build.SOURCES, changed)
    (changed / "past.h").write_text("// other\n")
    monkeypatch.setattr(build, "SOURCES", changed)
    assert len({first, flags, second, build.full_key(program)}) == 4


def test_a_failure_is_told_and_not_tried_again(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CXX", str(fake_compiler(tmp_path, "x.cpp:1: error: no", fails=True)))
    with pytest.raises(build.BuildError, match=r"fails: x.cpp:1: error: no"):
        build.library()
    count = len((tmp_path / "runs").read_text().split())
    with pytest.raises(build.BuildError, match=r"delete `.*\.failed` to try again"):
        build.library()
    assert len((tmp_path / "runs").read_text().split()) == count
    assert not list(cache.glob("*.so"))


def test_the_compiler_may_have_flags(cache: Path, tmp_path: Path, monkeypatch: Any) -> None:
    program = fake_compiler(tmp_path)
    program.write_text(program.read_text().replace("echo run", 'echo "$@"'))
    monkeypatch.setenv("CXX", f"{program} -fsanitize=address '-DNAME=two words'")
    assert build.library().is_file()
    runs = (tmp_path / "runs").read_text().splitlines()
    assert all(run.startswith("-fsanitize=address -DNAME=two words -std=") for run in runs)
    monkeypatch.setenv("CXX", f"{program} 'open")
    with pytest.raises(build.BuildError, match="which is no command"):
        build.library()


def test_there_may_be_no_compiler_and_no_place(cache: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.BuildError, match=r"there is no C\+\+ compiler"):
        build.library()
    monkeypatch.delenv("CXX")
    cache.write_text("a file where the folder should be")
    with pytest.raises(build.BuildError, match="the engine cannot be compiled"):
        build.library()


def test_a_library_that_came_with_the_package_is_used(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(build, "SHIPPED", tmp_path)
    (tmp_path / build.shipped_name()).write_text("made before")
    assert build.library().read_text() == "made before"


def test_a_compiler_that_does_not_know_a_level_leaves_it_out(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    program = fake_compiler(tmp_path)
    text = program.read_text().replace(
        "#!/bin/sh\n", '#!/bin/sh\ncase "$*" in *-mavxvnni*) echo "error: no" >&2; exit 1;; esac\n'
    )
    program.write_text(text)
    monkeypatch.setenv("CXX", str(program))
    assert build.library().is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_the_sources_have_no_warnings(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    for unit in build.units("x86_64"):
        flags = [*build.FLAGS, *WARNINGS, *unit.flags, *unit.optional]
        command = [name, *flags, "-S", str(unit.source), "-o", os.devnull]
        found = subprocess.run(command, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr[:2000]


@pytest.mark.slow
def test_no_instruction_of_a_level_gets_into_code_for_all(engine: Any) -> None:
    """All code of a level has internal linkage: one function compiled for two levels under one
    name would be one of the two for all.
    """
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    program = build.compiler()
    for unit in build.units("x86_64"):
        if unit.source.stem != "kernels":
            continue
        command = [*program, *build.FLAGS, *unit.flags, "-O0", "-c", str(unit.source), "-o", "-"]
        made = Path(os.environ.get("TMPDIR", "/tmp")) / f"memtx-{os.getpid()}-{unit.name}.o"
        command[-1] = str(made)
        try:
            subprocess.run(command, check=True)
            table = subprocess.run(
                ["nm", "--defined-only", "--extern-only", "-C", str(made)],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
        finally:
            made.unlink(missing_ok=True)
        names = [line.split(" ", 2)[2] for line in table.splitlines()]
        assert len(names) == 1 and names[0].endswith("_kernels()"), names
