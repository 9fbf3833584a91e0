"""`make venv`: what it installs in which order, what it repairs, what it says; and hashes.

The interpreter is a stand-in that writes down how pip was called; the real installation is what
`.ci/run` does first.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

STAND_IN = """#!/bin/bash
# Answers like Python 3.11 as far as make_venv.sh asks; `fail` beside the log makes that step fail.
log=LOG
case "$*" in
  -c*) exit 0 ;;
  --version) echo Python 3.11.0 ;;
  -) cat > /dev/null ;;
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip --version") exit 0 ;;
  "-m pip install"*|"-m pip check"*)
    echo "${CUDA_HOME:-no CUDA_HOME}: ${*:2}" >> "$log"
    if [ -e "$log.fail" ] && [[ "$*" == *$(cat "$log.fail")* ]]; then exit 7; fi ;;
  *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


class Checkout:
    """A copy of what `make venv` reads, with a stand-in for Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CHECKOUT / "requirements", folder / "requirements")
        shutil.copy(CHECKOUT / "setup.py", folder)
        self.log = folder / "calls.log"
        self.python = folder / "stand-in"
        self.python.write_text(STAND_IN.replace("LOG", str(self.log)))
        self.python.chmod(0o755)

    def make(self, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": os.environ["PATH"], "PYTHON": str(self.python), **environment}
        script = self.folder / "requirements" / "make_venv.sh"
        return subprocess.run(["bash", script], env=variables, capture_output=True, text=True)

    def calls(self) -> list[str]:
        """How pip was called since this was last asked."""
        lines = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.replace("--disable-pip-version-check --no-input ", "") for line in lines]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


EVERYTHING = [
    "no CUDA_HOME: pip install --require-hashes -r requirements/build.txt",
    "no CUDA_HOME: pip install -r requirements/torch.txt",
    "no CUDA_HOME: pip install --require-hashes --no-build-isolation -r requirements/run.txt",
    "no CUDA_HOME: pip install --require-hashes -r requirements/dev.txt",
    "no CUDA_HOME: pip install --quiet --no-deps --no-build-isolation -e .",
    "no CUDA_HOME: pip check",
]


def test_torch_comes_first_then_fairseq_then_the_project(checkout: Checkout) -> None:
    made = checkout.make()
    assert (made.returncode, made.stderr) == (0, "")
    assert checkout.calls() == EVERYTHING
    assert "about\nmemtx:     five minutes" in made.stdout


def test_cuda_home_is_not_seen_by_any_build(checkout: Checkout) -> None:
    assert checkout.make(CUDA_HOME="/opt/cuda").returncode == 0
    assert checkout.calls()[:5] == EVERYTHING[:5]


def test_a_second_time_does_nothing_quickly(checkout: Checkout) -> None:
    checkout.make()
    checkout.calls()
    start = time.monotonic()
    again = checkout.make()
    assert time.monotonic() - start < 2
    assert (again.returncode, again.stdout, again.stderr, checkout.calls()) == (0, "", "", [])


def test_changed_requirements_are_installed_into_the_same_environment(checkout: Checkout) -> None:
    checkout.make()
    kept = checkout.folder / ".venv" / "kept"
    kept.touch()
    checkout.calls()
    with (checkout.folder / "requirements" / "dev.txt").open("a") as pins:
        pins.write("another==1.0\n")
    assert "up to date" in checkout.make().stdout
    assert checkout.calls() == EVERYTHING
    assert kept.exists()


@pytest.mark.parametrize("step", ["build.txt", "torch.txt", "run.txt", "-e .", "pip check"])
def test_a_build_that_was_cut_short_is_started_anew(step: str, checkout: Checkout) -> None:
    fail = Path(f"{checkout.log}.fail")
    fail.write_text(step)
    assert checkout.make().returncode == 7
    half_made = checkout.folder / ".venv" / "half_made"
    half_made.touch()
    fail.unlink()
    checkout.calls()
    made = checkout.make()
    assert made.returncode == 0
    assert "did not finish: starting anew" in made.stdout
    assert checkout.calls() == EVERYTHING
    assert not half_made.exists()


def without_python(checkout: Checkout) -> None:
    (checkout.folder / ".venv" / "bin" / "python").unlink()


def with_dangling_python(checkout: Checkout) -> None:
    without_python(checkout)
    (checkout.folder / ".venv" / "bin" / "python").symlink_to("/nowhere/python")


@pytest.mark.parametrize("damage", [without_python, with_dangling_python])
def test_an_environment_without_a_working_python_is_made_anew(
    damage: Callable[[Checkout], None], checkout: Checkout
) -> None:
    checkout.make()
    damage(checkout)
    checkout.calls()
    assert "no working Python" in checkout.make().stdout
    assert checkout.calls() == EVERYTHING


def test_an_environment_made_by_hand_is_completed(checkout: Checkout) -> None:
    subprocess.run([checkout.python, "-m", "venv", checkout.folder / ".venv"], check=True)
    kept = checkout.folder / ".venv" / "kept"
    kept.touch()
    assert checkout.make().returncode == 0
    assert checkout.calls() == EVERYTHING
    assert kept.exists()


def test_a_copied_checkout_gets_an_environment_of_its_own(
    checkout: Checkout, tmp_path: Path
) -> None:
    checkout.make()
    checkout.calls()
    script = tmp_path / "copied" / "requirements" / "make_venv.sh"
    shutil.copytree(checkout.folder, tmp_path / "copied")
    variables = {"PATH": os.environ["PATH"], "PYTHON": str(checkout.python)}
    made = subprocess.run(["bash", script], env=variables, capture_output=True, text=True)
    assert "was moved here" in made.stdout
    assert checkout.calls() == EVERYTHING


def test_a_wrong_python_is_refused_in_one_line(checkout: Checkout) -> None:
    made = checkout.make(PYTHON=shutil.which("false") or "false")
    assert made.returncode == 1
    assert made.stderr.startswith("memtx: `PYTHON` is ")
    assert made.stderr.count("\n") == 1
    assert not (checkout.folder / ".venv").exists()


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    """A PATH with the few tools that the script itself uses: no Python, no compiler."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for tool in ("bash", "cat", "cksum", "cp", "dirname", "env", "flock", "head", "mkdir", "mv"):
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    return str(folder)


def test_no_python_ends_in_one_line(checkout: Checkout, bare_path: str) -> None:
    made = checkout.make(PATH=bare_path, PYTHON="")
    assert made.returncode == 1
    assert made.stderr.startswith("memtx: there is no Python 3.11, 3.12 or 3.13 on PATH")
    assert made.stderr.count("\n") == 1


def test_no_compiler_ends_in_one_line(checkout: Checkout, bare_path: str) -> None:
    made = checkout.make(PATH=bare_path)
    assert made.returncode == 1
    assert made.stderr.startswith("memtx: there is no C++ compiler on PATH")
    assert made.stderr.count("\n") == 1
    assert not (checkout.folder / ".venv").exists()


def hashes_below(pins: Path) -> dict[str, list[str]]:
    """The hashes that each pin of a file has."""
    found: dict[str, list[str]] = {}
    for line in pins.read_text().split("\n"):
        if line.startswith("    --hash="):
            found[list(found)[-1]].append(line.removesuffix("\\").strip())
        elif line and not line.startswith("#"):
            found[line.removesuffix("\\").strip()] = []
    return found


@pytest.mark.parametrize(
    "pins", sorted((CHECKOUT / "requirements").glob("*.txt")), ids=lambda path: path.name
)
def test_each_pin_but_that_of_torch_has_its_hashes(pins: Path) -> None:
    hashes = hashes_below(pins)
    assert all("==" in pin for pin in hashes)
    if pins.name == "torch.txt":
        assert [pin.partition("==")[0] for pin in hashes] == ["torch"]
        assert not any(hashes.values())
    else:
        assert all(hashes.values())
        assert all(
            len(one) == len("--hash=sha256:") + 64 for some in hashes.values() for one in some
        )


def test_a_package_that_does_not_have_its_hash_is_not_installed(tmp_path: Path) -> None:
    """pip's own refusal, of a file with one wrong hash: what `--require-hashes` is for."""
    package = tmp_path / "tiny"
    package.mkdir()
    (package / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='tiny', version='1')\n"
    )
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", tmp_path, package], check=True, capture_output=True)
    pins = tmp_path / "pins.txt"
    pins.write_text(f"tiny==1 --hash=sha256:{'0' * 64}\n")
    install = [sys.executable, "-m", "pip", "install", "--require-hashes", "--no-index", "--target"]
    command = [*install, tmp_path / "there", "--find-links", tmp_path, "-r", pins]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "DO NOT MATCH THE HASHES" in refused.stderr
