"""What the README shows and names is there: its table, its flags, its files."""

import re
from dataclasses import fields
from pathlib import Path

from fairseq_memtx import config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(text: str) -> list[str]:
    """The lines of a Markdown table."""
    return [line for line in text.split("\n") if line.startswith("|")]


def test_its_tables_are_those_of_the_results() -> None:
    shown = re.findall(r"<!-- table: (\S+) -->\n(.*?)<!-- end -->", README, re.S)
    assert shown
    for path, table in shown:
        assert rows(table) == rows((ROOT / path).read_text(encoding="utf-8"))


def test_its_flags_exist() -> None:
    options = [value for value in vars(config).values() if hasattr(value, "__dataclass_fields__")]
    flags = {config.flag(item.name) for kind in options for item in fields(kind)}
    named = set(re.findall(r"--memtx-[a-z0-9-]+[a-z0-9]", README))
    assert named
    assert named <= flags, named - flags


def test_its_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert not missing
