"""A trainer that takes no time, for the tests of the stages that train."""

import sys
from pathlib import Path

import pytest

from fairseq_memtx.ground import shell
from fairseq_memtx.ground.files import write_json
from scripts.experiment.folders import ExperimentFolder

# Counts updates in its checkpoint, one line of log for each; dies when the file `die` is there.
# Its loss is the less, the nearer the learning rate is to 0.002; above 0.1 there is none.
FAKE_TRAINER = """
import json, math, pathlib, sys
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
folder, goal = pathlib.Path(value("--save-dir")), int(value("--max-update"))
lr, warmup = float(value("--lr")), int(value("--warmup-updates"))
last = folder / "checkpoint_last.pt"
done = int(last.read_text()) if last.exists() else 0
say = lambda kind, **stats: print(f"now | INFO | {kind} | {json.dumps(stats)}", flush=True)
print("now | INFO | x | num. shared model params: 1,234 (num. trained: 1,234)")
print(f"now | INFO | x | from {done}")
while done < goal:
    done += 1
    last.write_text(str(done))
    say("train_inner", epoch=1, update=done / 10, num_updates=str(done), loss="1.0")
    if (folder.parent / "die").exists() and done == 2:
        print("out of memory")
        raise SystemExit(1)
if lr > 0.1:
    raise FloatingPointError("Minimum loss scale reached")
loss = 1.5 + abs(math.log(lr / 0.002)) + warmup / 1e6
say("valid", epoch=1, valid_loss="2.0", valid_nll_loss=str(loss), valid_num_updates=str(done))
say("train", epoch=1, train_nll_loss="1.6", train_wpb="10", train_num_updates=str(done))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExperimentFolder:
    """Prepared data, and the trainer."""
    folder = ExperimentFolder(tmp_path / "demo")
    write_json(folder.prepared, {"outputs": {"bin/train": "hash"}})
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE_TRAINER)
    monkeypatch.setattr(shell, "executable", lambda line: [sys.executable, str(fake), *line[1:]])
    return folder
