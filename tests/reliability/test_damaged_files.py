"""Dictionaries, binary sets and sentencepiece models that are damaged, through what reads them.

Each kind of damage ends in one line that names the file, whichever command meets it.
"""

import io
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq import options
from fairseq.data import Dictionary, indexed_dataset
from fairseq.data.indexed_dataset import MMapIndexedDataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import generate, interactive, train, validate

from fairseq_memtx import repairs
from fairseq_memtx.commands import distil, quantize, schedule, shortlist, translate
from fairseq_memtx.data.binarised import check_numbers, check_pair
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.text import load_subwords

repairs.apply()

PAIR = "train.en-de.en"
KINDS = ("dict.en.txt", f"{PAIR}.bin", f"{PAIR}.idx", "sentencepiece.bpe.model")


def flipped(content: bytes) -> bytes:
    """With a bit changed near the beginning, where each kind of file says what it is."""
    return content[:3] + bytes([content[3] ^ 0x80]) + content[4:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one byte more": lambda content: content + b"\0",
    "flipped": flipped,
    "zeroes": lambda content: bytes(len(content)),
    "of another kind": lambda content: b"PK\x03\x04" + random.Random(1).randbytes(3000),
}

#: Damage that such a file does not show: what remains is another one of its kind, which only a
#: hash tells, or the same.
INVISIBLE = {
    ("dict.en.txt", "cut"), ("dict.en.txt", "one byte short"), ("dict.en.txt", "flipped"),
    ("sentencepiece.bpe.model", "one byte more"), ("sentencepiece.bpe.model", "flipped"),
    ("sentencepiece.bpe.model", "one byte short"),
}  # fmt: skip


@pytest.fixture
def data(data_bin: Path, tmp_path: Path) -> Path:
    """A copy of the binarised sample that may be damaged."""
    return Path(shutil.copytree(data_bin, tmp_path / "bin"))


def damage(data: Path, kind: str, how: str) -> Path:
    path = data / kind
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    return path


LOADERS: dict[str, Callable[[Path], object]] = {
    "dict.en.txt": lambda path: Dictionary.load(str(path)),
    f"{PAIR}.bin": lambda path: MMapIndexedDataset(str(path.with_suffix(""))),
    f"{PAIR}.idx": lambda path: MMapIndexedDataset(str(path.with_suffix(""))),
    "sentencepiece.bpe.model": load_subwords,
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_loaders_name_the_file_in_one_line(
    kind: str, how: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damage(data, kind, how)
    if kind.endswith(".bin") and how in ("flipped", "zeroes"):
        check_pair(str(path.with_suffix("")))  # the numbers are looked at where words are known
        return
    try:
        LOADERS[kind](path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert (kind, how) in INVISIBLE
    assert capsys.readouterr().err == ""


def test_every_flip_of_an_index_is_found(data: Path) -> None:
    path = data / f"{PAIR}.idx"
    whole, draw = path.read_bytes(), random.Random(3)
    for _ in range(200):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
        with pytest.raises(UserError):
            check_pair(str(path.with_suffix("")))


def test_numbers_without_a_word_are_found(data: Path) -> None:
    prefix = str(data / PAIR)
    words = len(Dictionary.load(str(data / "dict.en.txt")))
    check_numbers(prefix, words)
    path = data / f"{PAIR}.bin"
    path.write_bytes(b"\xff\x7f" + path.read_bytes()[2:])
    with pytest.raises(UserError, match=r"holds the number 32767, .* below \d+"):
        check_numbers(prefix, words)


@pytest.mark.parametrize("missing", ["bin", "idx"])
def test_half_a_set_is_told(missing: str, data: Path) -> None:
    (data / f"{PAIR}.{missing}").unlink()
    with pytest.raises(UserError, match=f"{PAIR}.{missing}`: name a folder"):
        indexed_dataset.infer_dataset_impl(str(data / PAIR))
    assert indexed_dataset.infer_dataset_impl(str(data / "nothing")) is None


def fairseq_command(name: str, data: Path, model: Path, tmp_path: Path) -> object:
    """Run one of fairseq's commands in this process."""
    sentencepiece = ["--bpe", "sentencepiece", "--sentencepiece-model",
                     str(data / "sentencepiece.bpe.model")]  # fmt: skip
    flags = [str(data), "--task", "memtx_translation", "--cpu", "--num-workers", "0"]
    if name == "train":
        parser, run = options.get_training_parser(), train.main
        flags += ["--arch", "memtx_feedback_tiny", "--optimizer", "adam", "--max-tokens", "600"]
        flags += ["--max-update", "1", "--save-dir", str(tmp_path / "save")]
    elif name == "validate":
        flags += ["--path", str(model), "--valid-subset", "train", "--max-tokens", "9000"]
        told, parser = (options.get_validation_parser() for _ in range(2))
        told = options.parse_args_and_arch(told, flags, suppress_defaults=True)
        parsed = options.parse_args_and_arch(parser, flags)
        return validate.main(convert_namespace_to_omegaconf(parsed), override_args=told)
    else:
        interactively = name == "interactive"
        parser = (
            options.get_interactive_generation_parser()
            if interactively
            else options.get_generation_parser()
        )
        run = interactive.main if interactively else generate.main
        flags += ["--path", str(model), *sentencepiece, "--beam", "1"]
        flags += [] if interactively else ["--gen-subset", "train", "--max-len-b", "1"]
    return run(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, flags)))


def run_command(name: str, data: Path, model: Path, tmp_path: Path) -> int | object:
    ours: dict[str, Callable[[], int]] = {
        "translate": lambda: translate.main(
            [str(model), "--data", str(data), "--input", str(tmp_path / "text"), "--beam", "1"]
        ),
        "quantize": lambda: quantize.main(
            [str(model), "--data", str(data), "--out", str(tmp_path / "small.pt")]
        ),
        "shortlist": lambda: shortlist.main(
            [str(data), "--out", str(tmp_path / "list.npz"), "--iterations", "1"]
        ),
        "schedule": lambda: schedule.main(
            [str(data), "--max-tokens", "500", "--memtx-length-schedule", "linear",
             "--memtx-length-updates", "9"]
        ),
    }  # fmt: skip
    return ours[name]() if name in ours else fairseq_command(name, data, model, tmp_path)


#: Which command reads what.
READ = {
    "translate": ("dict.en.txt", "sentencepiece.bpe.model"),
    "quantize": ("dict.en.txt",),
    "shortlist": ("dict.en.txt", f"{PAIR}.bin", f"{PAIR}.idx"),
    "schedule": (f"{PAIR}.idx",),
    "train": ("dict.en.txt", f"{PAIR}.bin", f"{PAIR}.idx"),
    "validate": ("dict.en.txt", f"{PAIR}.bin", f"{PAIR}.idx"),
    "generate": ("dict.en.txt", f"{PAIR}.bin", f"{PAIR}.idx", "sentencepiece.bpe.model"),
    "interactive": ("dict.en.txt", "sentencepiece.bpe.model"),
}
CASES = [(name, kind, how) for name, kinds in READ.items() for kind in kinds for how in DAMAGE]
#: All of them are run by `-m slow`; these by default.
FEW = ("one byte short",)


@pytest.mark.parametrize(
    ("name", "kind", "how"),
    [
        pytest.param(*case, marks=[] if case[2] in FEW and number % 2 == 0 else [pytest.mark.slow])
        for number, case in enumerate(CASES)
    ],
)
def test_commands_name_the_file_in_one_line(
    name: str, kind: str, how: str, data: Path, scattered: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A traceback would be any other error than ours; what is invisible may change a translation
    or be refused for another reason, but not end in a traceback either.
    """
    path = damage(data, kind, how)
    (tmp_path / "text").write_text("the old dog\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the old dog\n")))
    told = ""
    try:
        if run_command(name, data, scattered, tmp_path) == 1:
            told = capsys.readouterr().err.strip().split("\n")[-1]
            assert told.startswith("error: ")
    except UserError as error:
        told = str(error)
    assert "\n" not in told
    changed_numbers = kind.endswith(".bin") and how in ("flipped", "zeroes")
    if told and (kind, how) not in INVISIBLE:
        assert path.name in told or "dictionaries" in told or "does not fit" in told
    if not told:
        assert (kind, how) in INVISIBLE or changed_numbers


def test_distil_names_a_damaged_set(
    prepared_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = Path(shutil.copytree(prepared_sample, tmp_path / "data"))
    path = damage(data / "bin", f"{PAIR}.idx", "one byte short")
    monkeypatch.setattr(
        "fairseq_memtx.ground.shell.executable",
        lambda command: [sys.executable, "-c", "print('S-0\\ta\\nH-0\\t0\\ta')"],
    )
    words = ["--data", str(data), "--out", str(tmp_path / "out"), "--shards", "1"]
    assert distil.main([*words, "--teacher", str(data / "prepared.json")]) == 1
    assert path.name in capsys.readouterr().err.strip().split("\n")[-1]
