"""What Ctrl-C and SIGTERM do to commands that are no trainings, and how these go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fairseq_memtx.commands import average, translate
from tests.reliability.tally import Tally


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_translation_goes_on(
    number: int, scattered: Path, tmp_path: Path, tally: Tally
) -> None:
    """Whichever signal it was, the finished blocks stay, and the end is that of one run."""
    text, output = tmp_path / "text", tmp_path / "output"
    text.write_text("".join(f"{'the old dog ' * (1 + n % 5)}\n" for n in range(900)))
    flags = [str(scattered), "--input", str(text), "--threads", "1", "--block", "50"]
    flags += ["--beam", "4", "--native", "off", "--max-len-a", "0", "--max-len-b", "9"]
    command = [sys.executable, "-m", "fairseq_memtx", "translate", *flags, "--output", str(output)]
    part, deadline = tmp_path / "output.part", time.monotonic() + 120
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (part.exists() and part.stat().st_size):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == (130 if number == signal.SIGINT else -number), told
    finished = part.read_bytes().count(b"\n")
    assert 0 < finished < 900 and not output.exists()
    if number == signal.SIGINT:
        assert "interrupted: the same command goes on from here" in told
    assert translate.main([*flags, "--output", str(tmp_path / "whole")]) == 0
    assert translate.main([*flags, "--output", str(output)]) == 0
    tally.ours(output.read_bytes() == (tmp_path / "whole").read_bytes())
    assert tally.counts["survived"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output", "text", "whole"]


def test_ctrl_c_leaves_no_file(
    scattered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """While the file is being written; an older one stays."""
    out, words = tmp_path / "new.pt", [str(scattered), str(scattered), "--out"]

    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(torch, "save", interrupted)
    for before in ([], ["new.pt"]):
        assert average.main([*words, str(out)]) == 130
        assert "interrupted" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == before
        out.write_bytes(b"old")
    assert out.read_bytes() == b"old"
