"""Writes the hashes of all files of each pinned package below its pin: `make pins`.

Versions are changed by hand, in the pins; hashes by this, which asks the package index through `uv`
(`pip install uv`). They are those of every file of a release, so that they hold for each Python
and each processor. `torch.txt` has none: its builds for a CPU lie elsewhere than the others.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
WITHOUT = "torch.txt"


def canonical(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins_of(text: str) -> list[str]:
    """The lines of a file without hashes: comments, blank lines and `name==version`."""
    lines = [line.removesuffix("\\").rstrip() for line in text.split("\n")[:-1]]
    return [line for line in lines if not line.startswith("    --hash=")]


def is_pin(line: str) -> bool:
    """Whether a line names a package."""
    return "==" in line and not line.startswith("#")


def found_hashes(pins: list[str]) -> dict[str, list[str]]:
    """What the index tells of these packages: hashes by canonical name."""
    flags = "--no-deps --generate-hashes --universal --no-header --no-annotate --quiet"
    command = ["uv", "pip", "compile", *flags.split(), "--python-version", "3.11.9", "-"]
    told = subprocess.run(
        command, input="\n".join(pins), capture_output=True, text=True, check=False
    )
    if told.returncode != 0:
        sys.exit(f"hashes.py: uv failed:\n{told.stderr}")
    hashes: dict[str, list[str]] = {}
    for line in told.stdout.split("\n"):
        if is_pin(line):
            name = canonical(line.partition("==")[0])
            hashes[name] = []
        elif line.startswith("    --hash="):
            hashes[name].append(line.removesuffix("\\").strip())
    return hashes


def with_hashes(lines: list[str], hashes: dict[str, list[str]]) -> str:
    """The text of a file, each pin followed by its hashes."""
    written = []
    for line in lines:
        entry = [line]
        if is_pin(line):
            entry += [f"    {one}" for one in hashes[canonical(line.partition("==")[0])]]
        written.append(" \\\n".join(entry))
    return "\n".join(written) + "\n"


def main() -> None:
    """Rewrite each file of pins."""
    if shutil.which("uv") is None:
        sys.exit("hashes.py: there is no `uv` on PATH: install it (`pip install uv`)")
    for path in sorted(HERE.glob("*.txt")):
        if path.name != WITHOUT:
            lines = pins_of(path.read_text())
            new = path.with_suffix(".new")
            new.write_text(with_hashes(lines, found_hashes(list(filter(is_pin, lines)))))
            new.replace(path)


if __name__ == "__main__":
    main()
