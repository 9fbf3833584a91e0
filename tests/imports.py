"""Which modules a file imports, read from its source."""

import ast
from pathlib import Path


def imported_modules(path: Path, root: Path) -> set[str]:
    """Absolute names of all that a file imports, relative and late imports included.

    Args:
        path: a file below `root`.
        root: the folder that absolute names are counted from.
    """
    package = path.relative_to(root).parent.parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            parent = ".".join(base + ([node.module] if node.module else []))
            names.update(f"{parent}.{alias.name}" for alias in node.names)
    return names
