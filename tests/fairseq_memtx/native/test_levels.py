"""Levels of kernels that the processor at hand lacks, run in another way."""

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq_memtx.native import build, library
from tests.fairseq_memtx.native.compare import SIZES, compare_one, rounded


def processor_has(*features: str) -> bool:
    """Whether Linux names all of them."""
    told = Path("/proc/cpuinfo")
    flags = told.read_text().split() if told.exists() else []
    return platform.machine() == "x86_64" and all(feature in flags for feature in features)


@pytest.fixture(scope="module")
def other_encoding(tmp_path_factory: Any) -> library.Library:
    """A library with the level `avxvnni` for processors without it, but with AVX-512's VNNI.

    Both have the same product of 256 bits and differ only in how it is encoded: without `{vex}` the
    assembler takes AVX-512's encoding. All else of the level stays as it is.
    """
    if not processor_has("avx2", "fma", "avx512vl", "avx512_vnni") or not shutil.which("g++"):
        pytest.skip("there is no processor with AVX-512 VNNI, or no g++")
    folder = tmp_path_factory.mktemp("engine")
    shutil.copytree(build.SOURCES, folder / "src")
    for name, old, new in [
        ("products.h", '"%{vex%} vpdpbusd', '"vpdpbusd'),
        ("choice.cpp", "avx2 && has_avx_vnni()", "avx2 && (has_avx_vnni() || true)"),
    ]:
        path = folder / "src" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SOURCES", folder / "src")
        build.build(folder / "engine.so", ["g++"])
    found = library.Library(folder / "engine.so")
    assert "avxvnni" in found.levels
    return found


@pytest.mark.slow
def test_the_level_avxvnni_computes_what_the_others_do(other_encoding: library.Library) -> None:
    other_encoding.call("self_test", b"avxvnni")
    for rows, inputs, outputs in SIZES:
        weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
        x = torch.randn(rows, inputs)
        wanted = (rounded(x).double() @ weight.double().t()).int()
        assert torch.equal(other_encoding.int_products("avxvnni", weight, x), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10_000, 10_100))
def test_the_level_avxvnni_finds_what_the_python_search_finds(
    seed: int, other_encoding: library.Library, monkeypatch: Any
) -> None:
    monkeypatch.setattr(library, "_load", lambda: (other_encoding, "avxvnni"))
    watched = compare_one(seed)
    assert watched.num_found == 1 or watched.reasons


@pytest.fixture(scope="module")
def without_x86(tmp_path_factory: Any) -> library.Library:
    """A library for a processor of no known family, with x86's instructions hidden."""
    if not shutil.which("g++"):
        pytest.skip("there is no g++")
    path = tmp_path_factory.mktemp("engine") / "engine.so"
    build.build(path, ["g++", "-DMEMTX_WITHOUT_X86"], "riscv64")
    return library.Library(path)


@pytest.mark.slow
def test_any_processor_has_the_portable_level(
    without_x86: library.Library, monkeypatch: Any
) -> None:
    assert without_x86.levels == ["portable"]
    without_x86.call("self_test", b"portable")
    for rows, inputs, outputs in SIZES:
        weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
        x = torch.randn(rows, inputs)
        wanted = (rounded(x).double() @ weight.double().t()).int()
        assert torch.equal(without_x86.int_products("portable", weight, x), wanted)
    monkeypatch.setattr(library, "_load", lambda: (without_x86, "portable"))
    for seed in range(10_100, 10_130):
        watched = compare_one(seed)
        assert watched.num_found == 1 or watched.reasons


@pytest.mark.slow
def test_the_levels_of_arm_make_the_same_integers(tmp_path: Path) -> None:
    """Cross-compiled, and run by qemu's emulation of a processor."""
    program, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
    if shutil.which(program) is None or shutil.which(emulator) is None:
        pytest.skip(f"there is no {program} or {emulator}")
    main = Path(__file__).with_name("levels_of_arm.cpp")
    sources = [main, *(build.SOURCES / name for name in ("choice.cpp", "linear.cpp"))]
    objects = []
    for unit in build.units("aarch64"):
        if unit.source.stem == "kernels":
            objects.append(str(tmp_path / f"{unit.name}.o"))
            flags = [*build.FLAGS, *unit.flags, *unit.optional]
            command = [program, *flags, "-c", str(unit.source), "-o", objects[-1]]
            subprocess.run(command, check=True)
    made = str(tmp_path / "levels")
    flags = [*build.FLAGS, "-static", f"-I{build.SOURCES}"]
    subprocess.run([program, *flags, *map(str, sources), *objects, "-o", made], check=True)
    found = subprocess.run([emulator, "-cpu", "max", made], capture_output=True, text=True)
    assert found.stdout.split("\n") == ["neon right", "portable right", ""]
