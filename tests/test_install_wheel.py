"""The package as others install it: what the wheel says, holds and leaves alone."""

import email
import os
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.checkout import CHECKOUT


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def requirements(metadata: Message) -> list[Requirement]:
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    library = [path.relative_to(CHECKOUT) for path in (CHECKOUT / "fairseq_memtx").rglob("*.py")]
    preparing = [path.relative_to(CHECKOUT) for path in (CHECKOUT / "data_prep").rglob("*.py")]
    assert preparing
    native = (CHECKOUT / "fairseq_memtx" / "native" / "src").iterdir()  # compiled where it is used
    expected = {path.as_posix() for path in library} | {"fairseq_memtx/py.typed"}
    expected |= {path.relative_to(CHECKOUT).as_posix() for path in native}
    for page in ("explain", "serving"):
        expected |= {f"fairseq_memtx/{page}/page.{kind}" for kind in ("html", "css", "js")}
    assert held == expected | {f"fairseq_memtx/{path.as_posix()}" for path in preparing}


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("/LICENSE") for name in archive.namelist())


def test_name_and_version(metadata: Message) -> None:
    import fairseq_memtx

    assert metadata["Name"] == "fairseq-memtx"
    assert metadata["Version"] == fairseq_memtx.__version__
    assert metadata["Requires-Python"] == ">=3.11"


def test_a_working_fairseq_is_left_alone(metadata: Message) -> None:
    by_default = [r.name for r in requirements(metadata) if r.marker is None]
    assert by_default
    assert not [name for name in by_default if name.startswith("fairseq")]
    (asked_for,) = (r for r in requirements(metadata) if r.name.startswith("fairseq"))
    assert (asked_for.name, str(asked_for.marker)) == ("fairseq-fixed", 'extra == "fairseq"')


def test_the_ranges_admit_the_pinned_versions(metadata: Message) -> None:
    pins = {}
    for path in (CHECKOUT / "requirements").glob("*.txt"):
        lines = path.read_text(encoding="utf-8").split("\n")
        pins.update(line.removesuffix(" \\").split("==") for line in lines if "==" in line)
    for requirement in requirements(metadata):
        assert requirement.specifier.contains(pins[requirement.name]), requirement


def test_without_fairseq_the_import_says_what_to_install(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "fairseq.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'fairseq'\", name='fairseq')"
    )
    path = os.pathsep.join([str(tmp_path), str(wheel)])
    tried = subprocess.run(
        [sys.executable, "-c", "import fairseq_memtx.plugin"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert tried.returncode == 1
    assert tried.stderr.rstrip().split("\n")[-1] == (
        "ImportError: fairseq_memtx needs fairseq, which is not installed: "
        "pip install fairseq-fixed==0.12.3.1"
    )
