"""Products of the kernels: the same integers at every level, and those of plain loops."""

from typing import Any

import pytest
import torch

from fairseq_memtx.native.library import Library
from tests.fairseq_memtx.native.compare import SIZES, rounded


@pytest.mark.parametrize("sizes", SIZES)
def test_all_levels_make_the_integers_of_plain_loops(
    sizes: tuple[int, int, int], engine: tuple[Library, str]
) -> None:
    rows, inputs, outputs = sizes
    library = engine[0]
    weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
    x = torch.randn(rows, inputs)
    wanted = (rounded(x).double() @ weight.double().t()).int()
    for level in library.levels:
        assert torch.equal(library.int_products(level, weight, x), wanted), level


def test_the_largest_products_do_not_overflow(engine: tuple[Library, str]) -> None:
    library, inputs = engine[0], 4096
    for value, size in ((127, 1.0), (-127, 1.0), (127, -1.0), (-127, -1.0)):
        weight = torch.full((3, inputs), value, dtype=torch.int8)
        for level in library.levels:
            found = library.int_products(level, weight, torch.full((2, inputs), size))
            assert found.tolist() == [[int(127 * size) * value * inputs] * 3] * 2


def test_zeros_stay_zeros(engine: tuple[Library, str]) -> None:
    library = engine[0]
    weight = torch.randint(-127, 128, (20, 12), dtype=torch.int8)
    for level in library.levels:
        assert not library.int_products(level, weight, torch.zeros(3, 12)).any()


def test_a_rows_integers_do_not_depend_on_the_rows_beside_it(engine: tuple[Library, str]) -> None:
    library = engine[0]
    weight, x = torch.randint(-127, 128, (50, 36), dtype=torch.int8), torch.randn(11, 36)
    for level in library.levels:
        alone = torch.cat([library.int_products(level, weight, row[None]) for row in x])
        assert torch.equal(library.int_products(level, weight, x), alone)


def test_every_level_passes_its_own_test(engine: tuple[Library, str]) -> None:
    library = engine[0]
    assert library.levels[-1] == "portable"
    for level in library.levels:
        library.call("self_test", level.encode())


def test_wrong_arguments_raise(engine: tuple[Library, str]) -> None:
    library, level = engine
    weight, x = torch.ones(4, 3, dtype=torch.int8), torch.ones(2, 3)
    kind = "an argument has to be a tensor of"
    wrong: list[tuple[tuple[str, Any, Any], str]] = [
        (("no level", weight, x), "the processor has no level `no level`"),
        ((level, weight.float(), x), kind),
        ((level, weight, x.double()), kind),
        ((level, weight[0], x), kind),
        ((level, weight, x[:, :2]), "another number of inputs"),
        ((level, weight, None), kind),
        ((level, weight[:0], x), "the sizes must be at least 1"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            library.int_products(*arguments)
