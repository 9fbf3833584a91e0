"""What must be true of the tree as a whole, whatever its files do."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.checkout import CHECKOUT

LARGEST = 1 << 20  # bytes; results/ has plots, nothing else comes near


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file that git tracks."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def texts(paths: list[Path]) -> list[tuple[str, str]]:
    readable = [path for path in paths if path.suffix not in {".png", ".gz", ".pt"}]
    return [
        (str(path.relative_to(CHECKOUT)), path.read_text(encoding="utf-8")) for path in readable
    ]


def test_no_large_file_is_tracked(tracked: list[Path]) -> None:
    assert [str(path) for path in tracked if path.stat().st_size > LARGEST] == []


def test_no_path_of_one_machine_is_written_down(tracked: list[Path]) -> None:
    # what a word stands before is a part of another path, such as data/work/clean.en
    home = re.compile(r"(?<!\w)/(?:(?:home|Users|work)/\w+|root/)|file:///")
    this_file = str(Path(__file__).resolve().relative_to(CHECKOUT))
    found = {
        name: home.findall(text)
        for name, text in texts(tracked)
        if name != this_file and home.search(text)
    }
    assert found == {}


def test_safe_loading_is_never_switched_off(tracked: list[Path]) -> None:
    switched_off = re.compile(r"weights_only\s*=\s*False|NO_WEIGHTS_ONLY_LOAD")
    sources = [path for path in tracked if path.suffix == ".py" and "tests" not in path.parts]
    assert sources
    assert [name for name, text in texts(sources) if switched_off.search(text)] == []


def test_every_pin_is_exact_and_named_once() -> None:
    names = []
    for path in sorted((CHECKOUT / "requirements").glob("*.txt")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line and not line.startswith(("#", "    --hash=")):
                pin = re.fullmatch(r"([A-Za-z0-9_-]+)==[0-9][0-9A-Za-z.]*(?: \\)?", line)
                assert pin, f"{path.name}: {line}"
                names.append(pin[1].lower())
    assert len(names) == len(set(names)) > 40
