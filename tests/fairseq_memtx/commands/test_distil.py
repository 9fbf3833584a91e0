"""Distillation: what is decoded becomes the new training data, and nothing else changes."""

import json
import sys
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset

from data_prep.pipeline import verify
from fairseq_memtx.commands import distil
from fairseq_memtx.ground import shell
from fairseq_memtx.ground.errors import UserError

#: Stands for fairseq-generate: translates every source but number 3 by its number in pieces.
TRANSLATE = """
import sys
shard, shards, words = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(" ")
if len(sys.argv) > 4 and shard == 1:
    sys.exit("out of order")
for number in reversed(range(shard, int(sys.argv[3].split("|")[1]), shards)):
    pieces = " ".join(words[0] for _ in range(1 + number % 4))
    print(f"S-{number}\\tsource")
    if number != 3:
        print(f"H-{number}\\t-0.5\\t{'' if number == 5 else pieces}")
        print(f"D-{number}\\t-0.5\\ttext")
"""


def sources(folder: Path, language: str = "en") -> MMapIndexedDataset:
    return MMapIndexedDataset(str(folder / "bin" / f"train.en-de.{language}"))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    path = tmp_path / "teacher.pt"
    path.write_bytes(b"stands for a checkpoint")
    return path


@pytest.fixture
def fake_generate(prepared_sample: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let the command run `TRANSLATE`; returns the list of the commands that were run."""
    run: list[list[str]] = []
    piece = Dictionary.load(str(prepared_sample / "bin" / "dict.de.txt"))[40]
    total = len(sources(prepared_sample))

    def executable(command: list[str]) -> list[str]:
        run.append(command)
        shard, shards = (command[command.index(f) + 1] for f in ("--shard-id", "--num-shards"))
        broken = ["broken"] if "--break" in command else []
        return [sys.executable, "-c", TRANSLATE, shard, shards, f"{piece} |{total}", *broken]

    monkeypatch.setattr(shell, "executable", executable)
    return run


def run(prepared: Path, teacher: Path, out: Path, *flags: str) -> None:
    argv = ["--data", str(prepared), "--teacher", str(teacher), "--out", str(out)]
    distil.distil(distil.parse_args([*argv, "--shards", "3", *flags]))


def test_translations_become_the_training_targets(
    prepared_sample: Path,
    teacher: Path,
    fake_generate: list,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    with caplog.at_level("INFO"):
        run(prepared_sample, teacher, out)
    assert f"decode: done, {len(sources(prepared_sample)) - 1} sentences" in caplog.text
    old, new_source, new_target = sources(prepared_sample), sources(out), sources(out, "de")
    kept = [number for number in range(len(old)) if number not in (3, 5)]
    assert len(new_source) == len(new_target) == len(kept)
    for row, number in enumerate(kept):
        assert new_source[row].tolist() == old[number].tolist()
        assert new_target[row].tolist() == [40] * (1 + number % 4) + [2]
    report = json.loads((out / "prepared.json").read_bytes())
    assert report["pairs"]["train"] == len(kept)
    assert report["distilled"]["dropped"] == {"not translated": 1, "empty": 1}
    for language in ("en", "de"):
        text = (out / "text" / f"train.{language}").read_text(encoding="utf-8")
        assert len(text.removesuffix("\n").split("\n")) == len(kept)


def test_all_else_is_as_before_and_recorded(
    prepared_sample: Path, teacher: Path, fake_generate: list, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(prepared_sample, teacher, out)
    assert verify(out) == []
    report, before = (
        json.loads((folder / "prepared.json").read_bytes()) for folder in (out, prepared_sample)
    )
    assert report["outputs"].keys() == before["outputs"].keys()
    changed = {n for n, sha in report["outputs"].items() if sha != before["outputs"][n]}
    assert changed and all("train" in name for name in changed)


def test_what_is_done_is_not_done_again(
    prepared_sample: Path, teacher: Path, fake_generate: list, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"decoding shard 2 failed, .* ends:\nout of order"):
        run(prepared_sample, teacher, out, "--generate-args=--break")
    assert not (out / "prepared.json").exists()
    fake_generate.clear()
    run(prepared_sample, teacher, out)
    assert len(fake_generate) == 3  # another search: nothing may be kept
    (out / "decoded" / "1.out").unlink()
    fake_generate.clear()
    run(prepared_sample, teacher, out)
    assert [command[command.index("--shard-id") + 1] for command in fake_generate] == ["1"]


def test_the_decoding_is_fairseq_generate(
    prepared_sample: Path, teacher: Path, fake_generate: list, tmp_path: Path
) -> None:
    run(prepared_sample, teacher, tmp_path / "out", "--generate-args=--cpu", "--beam", "4")
    line = shell.shell_line(fake_generate[0])
    assert line.startswith("fairseq-generate ")
    assert "--gen-subset train" in line and "--beam 4" in line and "--cpu" in line


@pytest.mark.parametrize(
    "change, says",
    [
        ({"data": "nowhere"}, "holds no prepared.json"),
        ({"teacher": "nowhere.pt"}, "name a checkpoint"),
        ({"out": None}, "`--out` is the same folder as `--data`"),
    ],
)
def test_mistakes_are_told(
    change: dict, says: str, prepared_sample: Path, teacher: Path, tmp_path: Path
) -> None:
    given = {"data": prepared_sample, "teacher": teacher, "out": tmp_path / "out", **change}
    with pytest.raises(UserError, match=says):
        run(given["data"], given["teacher"], given["out"] or prepared_sample)


def test_damaged_data_and_an_open_quote_are_told(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prepared.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"prepared\.json` cannot be read as data_prep's report"):
        run(tmp_path, teacher, tmp_path / "out")
    with pytest.raises(SystemExit):
        run(tmp_path, teacher, tmp_path / "out", "--generate-args='--cpu")
    assert "argument --generate-args: invalid split value" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_teacher_and_student(
    prepared_sample: Path, tiny_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    search = "--generate-args=--cpu --max-len-a 0 --max-len-b 6 --memtx-generator fast"
    student = "--arch memtx_feedback_tiny --max-update 2 --optimizer adam --max-tokens 500 --cpu"
    run(prepared_sample, tiny_checkpoints["transformer"], out, "--beam", "1", search,
        "--train-args", *student.split())  # fmt: skip
    assert verify(out) == []
    assert len(sources(out)) == len(sources(out, "de")) > 0
    assert (out / "checkpoints" / "checkpoint_last.pt").exists()
