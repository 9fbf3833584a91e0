"""Whatever stands under an output's name: written through or refused at once, never lost."""

import os
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fairseq_memtx.commands import (
    average,
    distil,
    explain,
    mixture,
    quantize,
    schedule,
    shortlist,
    translate,
)
from tests.places_taken import contents, make_device

LOG = (
    '{"epoch": 1, "mixture_0": "0.5", "mixture_1": "0.5", "num_updates": "2",'
    ' "train_wall": "1", "wall": "1"}'
)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.en"
    path.write_bytes(b"The old dog sees a cat .\n\nA bird\n")
    return path


Command = Callable[[Path], tuple[Callable[[Sequence[str]], int], list[str], list[Path]]]


@pytest.fixture
def commands(scattered: Path, data_bin: Path, text: Path) -> dict[str, Command]:
    """Each command that writes one file: its entry, its words for an output, what it reads."""
    model, data = str(scattered), str(data_bin)
    length = ["--memtx-length-schedule", "linear", "--memtx-length-updates", "9"]
    return {
        "translate": lambda out: (
            translate.main,
            [model, "--input", str(text), "--beam", "1", "--output", str(out)],
            [text, scattered],
        ),
        "average": lambda out: (average.main, [model, model, "--out", str(out)], [scattered]),
        "quantize": lambda out: (quantize.main, [model, "--out", str(out)], [scattered]),
        "explain": lambda out: (
            explain.main,
            [model, "--input", str(text), "--beam", "1", "--out", str(out)],
            [text, scattered],
        ),
        "shortlist": lambda out: (
            shortlist.main,
            [data, "--out", str(out), "--iterations", "1"],
            [data_bin / "train.en-de.en.bin", data_bin / "dict.en.txt"],
        ),
        "schedule": lambda out: (
            schedule.main,
            [data, "--max-tokens", "1000", *length, "--plot", str(out)],
            [],
        ),
    }


NAMES = ("translate", "explain", "average", "quantize", "shortlist", "schedule")


@pytest.mark.parametrize("name", NAMES)
def test_device_nodes_stay(name: str, commands: dict[str, Command], tmp_path: Path) -> None:
    path = tmp_path / "null.png"
    make_device(path)
    main, words, _ = commands[name](path)
    assert main(words) == 0
    assert stat.S_ISCHR(path.lstat().st_mode)
    assert [found.name for found in tmp_path.iterdir()] == ["null.png"]


@pytest.mark.parametrize("name", NAMES)
def test_pipes_are_written_through(name: str, commands: dict[str, Command], tmp_path: Path) -> None:
    path, plain = tmp_path / "pipe.png", tmp_path / "plain.png"
    os.mkfifo(path)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    reader.start()
    main, words, _ = commands[name](path)
    assert main(words) == 0
    reader.join(20)
    assert commands[name](plain)[0](commands[name](plain)[1]) == 0
    # A zip archive in a pipe has its sizes behind its files.
    least = len(plain.read_bytes()) - (0 if name == "shortlist" else 100)
    assert len(found) == 1 and len(found[0]) >= least > 0
    assert stat.S_ISFIFO(path.lstat().st_mode)


#: Names that a shell, a terminal, a parser of flags or the file system may stumble over.
ODD = {
    "two lines": "a\nb.png",
    "no UTF-8": os.fsdecode(b"\xff\xc3.png"),
    "colours": "\x1b[31mred\x07.png",
    "turned around": "\u202egnp.png",
    "a shell's": "$(touch mark);`id`&|'\".png",
    "a pattern": "%s{0}*?\\.png",
    "a flag": "--out=x.png",
    "too long": "x" * 300 + ".png",
    "spaces": "  .png",
}
FEW = ("two lines", "no UTF-8", "too long")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[] if k in FEW else pytest.mark.slow) for k in ODD]
)
def test_an_odd_name_is_a_name(
    kind: str, name: str, commands: dict[str, Command], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The file appears under it and no other, or why not is one line of text; so is the log."""
    monkeypatch.chdir(tmp_path)
    main, words, _ = commands[name](tmp_path / ODD[kind])
    status = main(words)
    assert status == (1 if kind == "too long" else 0)
    assert [path.name for path in tmp_path.iterdir()] == [ODD[kind]] * (1 - status)
    told = [line for line in capsys.readouterr().err.split("\n") if line.startswith("error: ")]
    assert len(told) == status and all(map(str.isprintable, [*told, *caplog.messages]))


@pytest.mark.parametrize("name", NAMES)
def test_folders_links_and_inputs_are_refused_before_the_work(
    name: str,
    commands: dict[str, Command],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_work(*args: object, **options: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr("torch.load", no_work)
    monkeypatch.setattr("fairseq.data.indexed_dataset.MMapIndexedDataset.__init__", no_work)
    folder, link = tmp_path / "folder.png", tmp_path / "link.png"
    folder.mkdir()
    (tmp_path / "precious").write_bytes(b"precious")
    link.symlink_to("precious")
    below = tmp_path / "precious" / "out.png"
    before = contents(tmp_path)
    for path in (folder, link, below, *commands[name](folder)[2]):
        main, words, _ = commands[name](path)
        assert main(words) == 1
        told = capsys.readouterr().err.strip().split("\n")[-1]
        assert told.startswith("error: `--") and str(path) in told
    assert contents(tmp_path) == before


def test_plots_of_mixtures_never_replace_a_device_or_an_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "plot.svg"
    log.write_text(LOG)
    assert mixture.main([str(log), "--out", str(tmp_path / "plot")]) == 1
    assert "which is read" in capsys.readouterr().err
    assert log.read_text() == LOG


def test_an_average_is_none_of_its_inputs(
    tiny_checkpoints: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint2.pt"
    for path in (one, two):
        path.write_bytes(tiny_checkpoints["feedback"].read_bytes())
    before = contents(tmp_path)
    for words in ([str(one), str(two)], [str(tmp_path), "--last", "1"]):
        assert average.main([*words, "--out", str(two)]) == 1
        assert f"is the same file as `{two}`, which is read" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_distil_over_a_link_or_a_pipe(
    prepared_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file of a folder is written by the same function: one stands for all."""
    out = tmp_path / "out"
    (out / "decoded").mkdir(parents=True)
    os.mkfifo(out / "decoded" / "decoding.json.tmp")  # stale, from whoever it was
    (out / "decoded" / "0.log").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_bytes(b"precious")
    words = ["--data", str(prepared_sample), "--out", str(out), "--shards", "1"]
    generate = [sys.executable, "-c", "print('H-0\\t0\\tno word')"]
    monkeypatch.setattr("fairseq_memtx.ground.shell.executable", lambda command: generate)
    assert distil.main([*words, "--teacher", str(prepared_sample / "prepared.json")]) == 1
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_command_writes_to_its_standard_output_by_name(scattered: Path, text: Path) -> None:
    line = [str(scattered), "--input", str(text), "--beam", "1", "--output", "/dev/stdout"]
    own, (read, write) = os.dup(1), os.pipe()
    os.dup2(write, 1)
    os.close(write)
    try:
        assert translate.main(line) == 0
    finally:
        os.dup2(own, 1)  # nobody writes to the pipe any more
        os.close(own)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read().count(b"\n") == 3
    assert Path("/dev/stdout").is_symlink()
