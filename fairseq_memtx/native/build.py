"""The engine as a library: compiled at first use, once for each compiler, and kept in a cache.

The processor's abilities are no part of it: the library holds kernels for several levels, of which
the best is chosen when it is loaded.
"""

import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..ground.errors import UserError
from ..ground.files import write_bytes
from ..ground.writing import open_growing, wait_for_lock

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "src"
#: A library that came with the package; its name tells what it was made of.
SHIPPED = Path(__file__).parent / "built"
#: Says where libraries are kept, in place of the user's cache folder.
CACHE_VARIABLE = "MEMTX_CACHE"

FLAGS = (
    *("-std=c++17", "-O2", "-fPIC", "-pthread", "-fvisibility=hidden"),
    # a * b + c in one instruction; square roots that set no errno
    *("-ffp-contract=fast", "-fno-math-errno"),
)
TIMEOUT = 600  # seconds for one unit

#: The levels of `kernels.cpp`: its number of each, the processors' family, and what it may use.
LEVELS: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (0, "", ()),
    (1, "arm", ("-march=armv8.2-a+dotprod",)),
    (2, "x86", ("-mavx2", "-mfma")),
    (3, "x86", ("-mavx2", "-mfma", "-mavxvnni")),
    (
        *(4, "x86"),
        ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"),
    ),
)
FAMILIES = {"x86_64": "x86", "amd64": "x86", "aarch64": "arm", "arm64": "arm"}


class BuildError(Exception):
    """The library cannot be made; the message says why, in one line."""


@dataclass(frozen=True)
class Unit:
    """One call of the compiler.

    Attributes:
        source: the file.
        name: of the object.
        flags: beside those of all.
        optional: flags that may be left out where the compiler knows them not.
    """

    source: Path
    name: str
    flags: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def units(machine: str) -> list[Unit]:
    """What the library is made of on a kind of machine, as `platform.machine` names it."""
    plain = [path for path in sorted(SOURCES.glob("*.cpp")) if path.stem != "kernels"]
    made = [Unit(path, path.stem) for path in plain]
    family = FAMILIES.get(machine.lower(), "")
    for number, needs, flags in LEVELS:
        usable = flags if needs == family else ()
        level = ("-O3", f"-DMEMTX_LEVEL={number}")
        made.append(Unit(SOURCES / "kernels.cpp", f"kernels{number}", level, usable))
    return made


def compiler() -> list[str]:
    """The C++ compiler: `$CXX`, which may have flags too, or the first of the usual names.

    Raises:
        BuildError: where there is none.
    """
    named = os.environ.get("CXX", "").strip()
    try:
        given = [shlex.split(named)] if named else [["g++"], ["clang++"], ["c++"]]
    except ValueError as error:
        raise BuildError(f"`$CXX` is {named!r}, which is no command ({error})") from None
    for name, *flags in given:
        found = shutil.which(name)
        if found:
            return [found, *flags]
    raise BuildError(f"there is no C++ compiler ({named or 'g++, clang++ or c++'})")


def sources_key() -> str:
    """What tells these sources from others."""
    total = hashlib.sha256(repr((FLAGS, LEVELS)).encode())
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".cpp", ".h"):
            total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def full_key(program: Sequence[str]) -> str:
    """The same, and the compiler, its flags and the kind of machine beside it."""
    version = subprocess.run([program[0], "--version"], capture_output=True, timeout=60)
    machine = f"{platform.system()} {platform.machine()}"
    made_of = f"{sources_key()} {version.stdout!r} {list(program[1:])} {machine}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where libraries are kept."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    of_user = os.environ.get("XDG_CACHE_HOME")
    return (Path(of_user) if of_user else Path.home() / ".cache") / "fairseq_memtx"


def shipped_library() -> Path | None:
    """The library that came with the package, if it is one of these sources for this machine."""
    path = SHIPPED / shipped_name()
    return path if path.is_file() else None


def shipped_name() -> str:
    """The name of a library that comes with the package: of which sources, for which machine."""
    return f"memtx-{sources_key()}-{platform.system()}-{platform.machine()}.so".lower()


def library() -> Path:
    """The library, made now if need be.

    Raises:
        BuildError: where it cannot be.
    """
    shipped = shipped_library()
    if shipped is not None:
        return shipped
    program = compiler()
    try:
        folder, key = cache_folder(), full_key(program)
        path, failure = folder / f"engine-{key}.so", folder / f"engine-{key}.failed"
        if path.is_file():
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"engine-{key}.lock"):
            if path.is_file():  # another process was quicker
                return path
            if failure.is_file():
                reason = failure.read_text(encoding="utf-8").strip()
                raise BuildError(f"{reason} (delete `{failure}` to try again)")
            logger.info("compiling the native engine, once: `%s`", path)
            try:
                build(path, program)
            except BuildError as error:
                write_bytes(failure, f"{error}\n".encode())
                raise
            return path
    except (OSError, UserError, RuntimeError, subprocess.SubprocessError) as error:
        raise BuildError(f"the engine cannot be compiled: {error}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """No other process is in here with the same file."""
    with open_growing(path) as file:
        wait_for_lock(file)
        yield


def build(path: Path, program: Sequence[str], machine: str = "") -> None:
    """Compile the library; it appears whole, under its own name.

    Args:
        path: of the library.
        program: the compiler, and flags beside the usual ones, for the linker too.
        machine: that it is for; this one, if none is named.

    Raises:
        BuildError: with the compiler's first complaint.
    """
    workers = max(
        1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".engine-") as name:
        folder = Path(name)

        def make(unit: Unit) -> str:
            return _compile(unit, folder, program)

        with ThreadPoolExecutor(workers) as pool:
            # the kernels take longest: they come first
            wanted = sorted(units(machine or platform.machine()), key=lambda u: not u.flags)
            objects = list(pool.map(make, wanted))
        made = folder / "library.so"
        _run([*program, *FLAGS, "-shared", *objects, "-o", str(made)])
        made.replace(path)


def _compile(unit: Unit, folder: Path, program: Sequence[str]) -> str:
    made = str(folder / f"{unit.name}.o")
    command = [*program, *FLAGS, *unit.flags, "-c", str(unit.source), "-o", made]
    try:
        _run([*command, *unit.optional])
    except BuildError:
        if not unit.optional:
            raise
        _run(command)  # then the level is missing
    return made


def _run(command: Sequence[str]) -> None:
    found = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    if found.returncode != 0:
        lines = found.stderr.splitlines()
        complaint = next((line for line in lines if "error" in line), "\n".join(lines[:1]))
        raise BuildError(f"`{command[0]}` fails: {complaint.strip() or found.returncode}")
