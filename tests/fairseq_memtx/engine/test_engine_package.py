"""The engines' package as a newcomer finds it."""

from pathlib import Path

from fairseq_memtx import engine


def test_its_docstring_names_every_module() -> None:
    modules = {path.stem for path in Path(engine.__file__).parent.glob("*.py")} - {"__init__"}
    assert len(modules) > 20
    assert not {name for name in modules if f"`{name}`" not in (engine.__doc__ or "")}
