"""Settings written as text are read as values, and nothing in them is called."""

import pytest

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.literals import literal


@pytest.mark.parametrize(
    "text",
    [
        "0.1", "-3", "1e-4", "(0.9, 0.98)", "0.1,0.2", "[1, 2]", " None", "True", "'gelu'",
        "{'a': [1, {2}]}", "[(512, 3)] * 4 + [(768, 3)] * 2", "2/3", "1e-4 * 4", "[]", "()",
    ],
)  # fmt: skip
def test_plain_values_are_as_python_reads_them(text: str) -> None:
    assert literal(text) == eval(text)


@pytest.mark.parametrize(
    "text",
    [
        "open('x')", "[1, open('x')]", "x", "().__class__", "[x for x in (1, 2)]", "lambda: 1",
        "f'{1}'", "2 ** 9", "[1] * 10 ** 9", "[1] * 999999", "'a' * 9", "[1] + 'a'", "1 +", "",
        "{**{}}", "1 if 2 else 3", "not 1", "b'x'", "1/0", "1e999" * 5000, "(" * 300,
        "-" * 9000 + "1", "[[0] * 9999] * 9999", "{[]}", "\0", "1\n2",
    ],
)  # fmt: skip
def test_all_else_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match="is not a plain value") as caught:
        literal(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
