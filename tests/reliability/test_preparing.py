"""What cannot be prepared is refused at once; what fairseq cannot use is told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.cli import main
from data_prep.pipeline import verify
from fairseq_memtx.commands import distil
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.prepared import check_folder, is_inside, read_report
from fairseq_memtx.ground.stamps import Stamps
from tests.choosing import some
from tests.data_prep.texts import write_splits


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Path]:
    return write_splits(tmp_path / "text")


Prepare = Callable[..., int]


@pytest.fixture
def prepare(splits: dict[str, Path], tmp_path: Path) -> Prepare:
    def run(*flags: str, out: Path = tmp_path / "out") -> int:
        words = ["parallel", "--out", str(out), "--vocab-size", "120", "--workers", "1"]
        for split, prefix in splits.items():
            words += [f"--{split}", str(prefix)]
        return main([*words, *flags])

    return run


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ["--target-lang", "pt-br"],
            "`--target-lang` is pt-br: it has to be of letters, digits and _ only",
        ),
        (["--target-lang", "../de"], "`--target-lang` is ../de: it has to be of letters"),
        (["--source-lang", ""], "`--source-lang` is : it has to be of letters"),
        (["--target-lang", "docid"], "`--target-lang` is docid: it has to be of letters"),
        (["--seed=-1"], "`--seed` is -1: it has to be at least 0"),
        (
            ["--vocab-size", "9999999999"],
            "`--vocab-size` is 9999999999: it has to be at most 1000000",
        ),
        (["--vocab-size", "0"], "`--vocab-size` is 0: it has to be at least 1"),
        (
            ["--character-coverage", "0.96"],
            "`--character-coverage` is 0.96: it has to be from 0.98 to 1",
        ),
        (
            ["--character-coverage", "nan"],
            "`--character-coverage` is nan: it has to be from 0.98 to 1",
        ),
        (["--workers", "100000"], "`--workers` is 100000: it has to be from 1 to 512"),
        (["--max-ratio", "nan"], "`--max-ratio` is nan: it has to be at least 1"),
    ],
)
def test_impossible_options_are_refused_at_once(
    flags: list[str], says: str, prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepare(*flags) == 1
    assert says in caplog.records[-1].getMessage()
    assert not (tmp_path / "out").exists()


def test_the_least_coverage_that_sentencepiece_takes_is_taken(prepare: Prepare) -> None:
    assert prepare("--character-coverage", "0.98") == 0


def test_a_colon_in_the_path_is_refused(
    prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepare(out=tmp_path / "a:b" / "out") == 1
    assert "has a colon" in caplog.records[-1].getMessage()
    assert not (tmp_path / "a:b").exists()
    with pytest.raises(UserError, match="has a colon"):
        check_folder(tmp_path / "a\0b", "--out")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_utf16_is_refused_at_once(
    encoding: str, split: str, prepare: Prepare, splits: dict[str, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    path = Path(f"{splits[split]}.de")
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert prepare() == 1
    told = caplog.records[-1].getMessage()
    assert f"`{path}` looks like UTF-16, not UTF-8: convert it" in told


def test_a_line_that_no_model_takes_is_told(
    prepare: Prepare, splits: dict[str, Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    path = Path(f"{splits['valid']}.en")
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[3] = "b a " * 10_001
    path.write_text("\n".join(lines), encoding="utf-8")
    assert prepare() == 0
    told = "1 lines have more than 1023 subwords (the first is line 4, with"
    assert told in caplog.text and "--skip-invalid-size-inputs-valid-test" in caplog.text
    report = json.loads((tmp_path / "out" / "prepared.json").read_bytes())
    assert report["stages"]["valid"]["too long"] == 1
    assert report["stages"]["test"]["too long"] == 0


def test_an_input_that_would_be_written_over_is_refused(
    prepare: Prepare, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepare() == 0
    before = (tmp_path / "out" / "refs" / "test.en").read_bytes()
    assert prepare("--seed", "3", "--test", str(tmp_path / "out" / "refs" / "test")) == 1
    assert "which is read" in caplog.records[-1].getMessage()
    assert (tmp_path / "out" / "refs" / "test.en").read_bytes() == before


SHAPES = ["", "{", "[]", "null", "3", '"a"', "\xff", "[" * 99_999, "{}", '{"a": 1}', "NaN"]


@pytest.mark.parametrize("shape", some(SHAPES, 3))
def test_stamps_of_another_shape_are_no_stamps(
    shape: str, prepare: Prepare, tmp_path: Path
) -> None:
    assert prepare() == 0
    for path in (tmp_path / "out" / "stamps").iterdir():
        path.write_text(shape, encoding="latin-1")
    assert prepare() == 0
    assert verify(tmp_path / "out") == []


def test_a_stamp_that_was_changed_is_none(tmp_path: Path) -> None:
    stamps, done = Stamps(tmp_path), []
    output = tmp_path / "a"
    output.touch()
    work = lambda: done.append(1) or {"count": 3}  # noqa: E731
    stamps.run("stage", {}, [output], work)
    path = tmp_path / "stamps" / "stage.json"
    for change in ({"result": None}, {"outputs": {"../b": {}}}, {"outputs": 3}, {"more": 1}):
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
        done.clear()
        assert stamps.run("stage", {}, [output], work)["result"] == {"count": 3}
        assert done == [1]


HOSTILE = ["../.bashrc", "/etc/passwd", "a/../../b", "bin/..", ".", "", "a//b", "./a", "a\\..\\b",
           "C:x", "a\0b", "bin/"]  # fmt: skip


def test_names_that_leave_the_folder_are_known() -> None:
    assert [name for name in HOSTILE if is_inside(name)] == []
    assert is_inside("bin/dict.en.txt") and is_inside("a..b") and is_inside("..a/b")


@pytest.mark.parametrize("name", HOSTILE)
def test_paths_in_prepared_json_are_refused(
    name: str, prepared_sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, home = tmp_path / "home" / "data", tmp_path / "home"
    data.mkdir(parents=True)
    (home / ".bashrc").write_bytes(b"precious")
    report = json.loads((prepared_sample / "prepared.json").read_bytes())
    report["outputs"][name] = "0" * 64
    (data / "prepared.json").write_text(json.dumps(report))
    teacher = data / "prepared.json"
    words = ["--data", str(data), "--teacher", str(teacher), "--out", str(home / "out")]
    assert distil.main(words) == 1
    assert "which is not a file of its folder" in capsys.readouterr().err.split("\n")[-2]
    assert (home / ".bashrc").read_bytes() == b"precious" and not (home / "out").exists()
    with pytest.raises(UserError, match="refused"):
        verify(data)


@pytest.mark.parametrize("shape", SHAPES)
def test_prepared_json_of_another_shape(shape: str, tmp_path: Path) -> None:
    (tmp_path / "prepared.json").write_text(shape, encoding="latin-1")
    with pytest.raises(UserError) as raised:
        read_report(tmp_path)
    assert "prepared.json" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [{"source_lang": 3}, {"source_lang": "../e"}, {"target_lang": None}, {"outputs": []},
     {"outputs": {"a": 3}}, {"pairs": {}}, {"pairs": {"train": "9", "valid": 1, "test": 1}}],
)  # fmt: skip
def test_what_prepared_json_must_hold(change: dict, prepared_sample: Path, tmp_path: Path) -> None:
    report = json.loads((prepared_sample / "prepared.json").read_bytes())
    read_report(prepared_sample)
    (tmp_path / "prepared.json").write_text(json.dumps({**report, **change}))
    with pytest.raises(UserError, match=r"prepared\.json` holds .* instead of"):
        read_report(tmp_path)


def test_a_folder_that_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    decoded = tmp_path / "decoded"
    decoded.mkdir()
    (decoded / "thesis.txt").write_bytes(b"precious")
    with pytest.raises(UserError, match="was not made by this command"):
        distil.keep_for(decoded, {})
    assert (decoded / "thesis.txt").exists()
    shutil.rmtree(decoded)
    distil.keep_for(decoded, {"a": 1})
    (decoded / "0.out").touch()
    distil.keep_for(decoded, {"a": 1})
    assert (decoded / "0.out").exists()
    distil.keep_for(decoded, {"a": 2})
    assert not (decoded / "0.out").exists()
