"""What `make docs` needs beyond `mkdocs.yml`: pages outside this folder, and those of the modules.

The pages link to each other as they lie in the checkout (`../results/table.md`), which mkdocs does
not allow to leave its folder. So the site takes every page and picture that git tracks, where it
lies. Each package of the library gets a page whose text comes from the docstrings.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (".md", ".ipynb", ".png", ".svg", ".cff", "LICENSE")
ROOMS = ("docs/", "results/", "scripts/")
REFERENCE = "reference"


def on_config(config: Any) -> Any:
    """Put the modules' pages into the menu."""
    pages = [name for name, _ in modules()]
    if not any(REFERENCE in str(part) for part in config.nav):
        config.nav.append({"Reference": pages})
    return config


def on_files(files: Files, config: Any) -> Files:
    """All pages where they lie in the checkout, and those of the modules; a theme's files stay."""
    found = [file for file in files if file.src_dir != config.docs_dir]
    shown = [name for name in tracked() if name.endswith(SHOWN)]
    shown = [name for name in shown if name.startswith(ROOMS) or "/" not in name]
    found += [File(name, str(ROOT), config.site_dir, config.use_directory_urls) for name in shown]
    found += [File.generated(config, name, content=text) for name, text in modules()]
    return Files(found)


def modules() -> list[tuple[str, str]]:
    """A page for each package of the library: its name, and the modules to take docstrings from."""
    sources = [Path(name) for name in tracked() if name.startswith("fairseq_memtx/")]
    packages: dict[Path, list[str]] = {}
    for path in sorted(path for path in sources if path.suffix == ".py"):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        if not path.stem.startswith("__main__"):
            packages.setdefault(path.parent, []).append(f"::: {name}")
    return [
        (f"{REFERENCE}/{'.'.join(folder.parts)}.md", "\n\n".join([heading(folder), *names, ""]))
        for folder, names in packages.items()
    ]


def heading(folder: Path) -> str:
    """The title of a package's page."""
    return f"# `{'.'.join(folder.parts)}`"


def tracked() -> list[str]:
    """Every file that git tracks, or would."""
    line = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
