"""A translation that is disturbed: by a full disk, by another of the same, by impossible wishes."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from fairseq_memtx.commands import translate
from fairseq_memtx.ground import cores
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import SearchSettings, Translator, checked_lines
from tests.fairseq_memtx.ranks import ended, processes_of

WORDS = ["the", "old", "dog", "sees", "a", "cat", "and", "reads", "no", "book"]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 lines of 1 to 9 words: in another block, a line is in a batch of another width."""
    path = tmp_path_factory.mktemp("text") / "text.en"
    lines = (" ".join(WORDS[i % 3 : 1 + (i * 7) % 10 or 1]) for i in range(40))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def words(model: Path, text: Path, output: Path, *more: str) -> list[str]:
    limits = ["--beam", "2", "--block", "8", "--max-len-a", "1.2", "--max-len-b", "3"]
    return [str(model), "--input", str(text), "--output", str(output), *limits, *more]


@pytest.mark.parametrize("room", [1, 5, 130, 301])
def test_a_full_disk_then_room(
    room: int, scattered: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The same command again ends with what it would have written on an empty disk."""
    whole, output = tmp_path / "whole", tmp_path / "output"
    assert translate.main(words(scattered, text, whole)) == 0
    part = tmp_path / "output.part"
    write = translate.write_block

    def fills(target, texts):
        content = "".join(f"{text}\n" for text in texts).encode()
        left = room - part.stat().st_size
        if len(content) > left:
            target.write(content[: max(0, left)])
            target.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(target, texts)

    with monkeypatch.context() as patched:
        patched.setattr(translate, "write_block", fills)
        assert translate.main(words(scattered, text, output)) == 1
    assert "the disk is full" in capsys.readouterr().err.split("\n")[-2]
    assert part.stat().st_size == min(room, len(whole.read_bytes()))
    assert translate.main(words(scattered, text, output)) == 0
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output", "whole"]


@pytest.mark.parametrize("note", [b"[]", b"3", b"{", b"\xff", b"null", b'{"inputs": 1}', None])
def test_a_note_of_another_shape_begins_anew(
    note: bytes | None, scattered: Path, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "output.part").write_bytes(b"of another model\n" * 8)
    if note is not None:
        (tmp_path / "output.part.json").write_bytes(note)
    assert translate.main(words(scattered, text, tmp_path / "output")) == 0
    assert b"of another model" not in (tmp_path / "output").read_bytes()


def translate_and_tell(number: int, line: list[str], folder: Path) -> None:
    told = folder / f"{number}.log"
    with told.open("w", encoding="utf-8") as stream, contextlib.redirect_stderr(stream):
        status = translate.main(line)
    raise SystemExit(status)


@pytest.mark.slow
def test_three_with_one_output(scattered: Path, text: Path, tmp_path: Path) -> None:
    """Each ends well or says that another is at it; the output is that of one alone."""
    folder = tmp_path / "folder"
    folder.mkdir()
    line = words(scattered, text, folder / "output", "--threads", "1")
    with processes_of(translate_and_tell, 3, line, tmp_path) as processes:
        codes = ended(processes, seconds=300)
    assert 0 in codes
    for number, code in enumerate(codes):
        last = (tmp_path / f"{number}.log").read_text(encoding="utf-8").strip().split("\n")[-1]
        assert code == 0 or "is being written by another translation" in last
    assert translate.main(words(scattered, text, folder / "alone")) == 0
    assert (folder / "output").read_bytes() == (folder / "alone").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["alone", "output"]


def test_another_one_at_work_is_told(
    scattered: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = translate.Partial(tmp_path / "output", {}, [8])
    with part.open():
        assert translate.main(words(scattered, text, tmp_path / "output")) == 1
    assert "is being written by another translation: wait for it" in capsys.readouterr().err


def test_a_part_that_is_a_link_is_not_followed(
    scattered: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "output.part").symlink_to("precious")
    assert translate.main(words(scattered, text, tmp_path / "output")) == 1
    assert "output.part` is a link" in capsys.readouterr().err
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--threads", "100000"], "it has to be from 1 to"),
        (["--threads", "0"], "it has to be from 1 to"),
        (["--lenpen", "500"], "`lenpen` is 500.0: it has to be from -10.0 to 10.0"),
        (["--lenpen=-1e6"], "`lenpen` is -1000000.0: it has to be from"),
        (["--block", "99999999999999999999"], "it has to be at most 2147483647"),
        (["--batch-size", "99999999999"], "it has to be at most 2147483647"),
        (["--max-len-a", "1e308"], "`max_len_a` is 1e+308: it has to be from 0 to 1000"),
        (
            ["--max-len-b", "2000000000"],
            "`max_len_b` is 2000000000: it has to be from 0 to 1000000",
        ),
        (["--beam", "100001"], "`beam` is 100001: it has to be from 1 to 100000"),
        (["--beam", "99999"], "--beam is 99999: it has to be at most"),
    ],
)
def test_numbers_are_bounded(
    flags: list[str], says: str, scattered: Path, text: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    try:
        status = translate.main([str(scattered), "--input", str(text), *flags])
    except SystemExit as ended:
        status = int(str(ended))
    told = capsys.readouterr().err.strip().split("\n")[-1]
    assert status in (1, 2) and says in told


def test_fairseqs_generate_has_the_same_bound(scattered: Path) -> None:
    from fairseq import checkpoint_utils

    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(scattered)])
    cfg.generation.lenpen = 500
    with pytest.raises(UserError, match=r"--lenpen is 500: it has to be from -10.0 to 10.0"):
        task.build_generator(models, cfg.generation)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([*["a"] * 9, None], "line 10 is of type NoneType: it has to be text .str."),
        (["a", b"b"], "line 2 is of type bytes: it has to be text .str."),
        (["a"] * 7000 + ["x\ud800"] + ["a"] * 3000, r"line 7001 .* character 2 is half .*U\+D800"),
        (b"text", "`lines` is a bytes: it has to be a list of sentences"),
        ("text", "`lines` is a single text: it has to be a list of sentences"),
        (7, "`lines` is a int: it has to be a list of sentences"),
    ],
)
def test_what_is_no_text_is_told_before_the_work(lines, says: str, scattered: Path) -> None:
    translator = Translator.from_pretrained(scattered, search=SearchSettings(beam=1))
    translator._translate_batch = None  # type: ignore[method-assign, assignment]
    with pytest.raises(UserError, match=says):
        translator.translate(lines)


def test_lines_may_come_one_by_one() -> None:
    assert checked_lines(iter(["a", ""])) == ["a", ""]


@pytest.mark.parametrize(
    ("name", "value"),
    [("beam", 2.5), ("beam", True), ("beam", "5"), ("lenpen", 1e6), ("lenpen", "1"),
     ("lenpen", None), ("max_len_b", 1.5), ("batch_size", 1e3), ("max_tokens", 0)],
)  # fmt: skip
def test_options_of_the_api_have_types_and_bounds(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"`{name}` is .*: it has to be "):
        SearchSettings(**{name: value})  # type: ignore[arg-type]


def test_the_environment_and_the_limits_of_a_container_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cores.usable_cores(tmp_path) == 12
    (tmp_path / "proc/self").mkdir(parents=True)
    group = tmp_path / "sys/fs/cgroup/user.slice/session"
    group.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user.slice/session\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert cores.usable_cores(tmp_path) == 12
    (group.parent / "cpu.max").write_text("350000 100000\n")
    assert cores.usable_cores(tmp_path) == 3
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    assert cores.usable_cores(tmp_path) == 1


def test_the_limits_of_older_systems_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(12))
    (tmp_path / "proc/self").mkdir(parents=True)
    group = tmp_path / "sys/fs/cgroup/cpu/docker"
    group.mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:memory:/x\n4:cpu,cpuacct:/docker\n")
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.usable_cores(tmp_path) == 12
    (group / "cpu.cfs_quota_us").write_text("200000\n")
    assert cores.usable_cores(tmp_path) == 2


@pytest.mark.parametrize(
    ("told", "found"), [("1", 1), ("3,2", 3), ("", 5), ("x", 5), ("0", 5), ("100000", 64)]
)
def test_omp_num_threads_counts(told: str, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 5)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert cores.default_threads() == found
    parsed = translate.parse_args(["model.pt"])
    translate.share_out(parsed)
    assert parsed.threads == found
