import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.cli import main, options_of, parse_args
from data_prep.options import Options
from fairseq_memtx.ground.command_line import describe_os_error
from tests.checkout import CHECKOUT
from tests.data_prep.texts import pairs, write_parallel


def words(splits: dict[str, Path], out: Path, *flags: str) -> list[str]:
    chosen = [word for split, prefix in splits.items() for word in (f"--{split}", str(prefix))]
    return ["parallel", "--out", str(out), "--vocab-size", "120", *chosen, *flags]


def start(arguments: list[str], **options: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep", *arguments],
        cwd=CHECKOUT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def test_help_and_errors_load_nothing_heavy() -> None:
    script = (
        "import sys\nfrom data_prep.cli import parse_args\n"
        "for words in (['--help'], ['parallel', '--help'], ['wmt14', '--help'],"
        " ['sample', '--help'], ['bench', 'stages', '--help'], ['verify']):\n"
        "    try: parse_args(words)\n"
        "    except SystemExit: pass\n"
        "heavy = {'torch', 'fairseq', 'numpy', 'sentencepiece', 'sacremoses'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--tokenizer" in done.stdout


def test_defaults_come_from_the_options(tmp_path: Path) -> None:
    text = {"train": tmp_path, "valid": tmp_path, "test": tmp_path}
    args = parse_args(["parallel", "--out", "x", *words(text, tmp_path)[5:]])
    assert options_of(args) == Options()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--min-words", "0", "`--min-words` is 0: it has to be at least 1"),
        ("--max-ratio", "0.5", "`--max-ratio` is 0.5: it has to be at least 1"),
        (
            "--character-coverage",
            "1.5",
            "`--character-coverage` is 1.5: it has to be from 0.98 to 1",
        ),
        ("--target-lang", "en", "`--target-lang` is en: it has to be another language"),
        ("--workers", "0", "`--workers` is 0: it has to be from 1 to 512"),
        ("--vocab-size", "-1", "`--vocab-size` is -1: it has to be at least 1"),
    ],
)
def test_impossible_values_are_told(
    splits: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    flag: str,
    value: str,
    message: str,
) -> None:
    assert main(words(splits, tmp_path / "out", flag, value)) == 1
    assert message in caplog.text


def test_other_system_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        (tmp_path / "missing" / "file").open("w")
    assert (
        describe_os_error(caught.value) == f"No such file or directory at `{tmp_path}/missing/file`"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_in_a_stage_is_one_line_and_resumed(
    tmp_path: Path, number: signal.Signals
) -> None:
    splits = {
        "train": write_parallel(tmp_path / "train", pairs(3000) * 40),
        "valid": write_parallel(tmp_path / "valid", pairs(10)),
        "test": write_parallel(tmp_path / "test", pairs(10)),
    }
    out = tmp_path / "out"
    process = start(words(splits, out, "--duplicates", "keep"))
    wait_for(out / "work" / "clean.en.tmp", process)
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted: run the same command again to go on" in told
    assert "Traceback" not in told
    assert not (out / "stamps" / "clean.json").exists() and not list(out.rglob("*.tmp"))


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_file_that_may_not_grow(splits: dict[str, Path], tmp_path: Path) -> None:
    """A real limit of the system in place of a full disk; the error comes from the kernel."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    write_parallel(splits["train"], pairs(2000))
    process = start(words(splits, tmp_path / "out", "--workers", "1"), preexec_fn=limit)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the disk is full (File too large" in told
    assert "Traceback" not in told
    assert not list((tmp_path / "out").rglob("*.tmp"))
