"""`fairseq-train` with replayed loops, on the CPU with recorded operations: the manual engine's."""

import pytest
import torch

from fairseq_memtx.compute import onednn
from fairseq_memtx.engine import ENGINES
from tests.fairseq_memtx.engine.gpu.replays import Replays
from tests.fairseq_memtx.tiny_training import TINY, load, make_data, run_training


@pytest.mark.slow
def test_a_training_is_that_of_the_manual_engine(tmp_path, monkeypatch):
    """Batches of all sizes, dropout, updates in place, two batches an update, validation."""
    engine = Replays()
    monkeypatch.setitem(ENGINES, "cuda-graphs", engine)
    monkeypatch.setattr(onednn, "packing_works", lambda: False)  # what it makes cannot be recorded
    data = make_data(tmp_path / "data", train_pairs=16)
    tiny = TINY.replace("adam", "sgd")  # Adam would make large updates of gradients near zero
    for name in ("cuda-graphs", "manual"):
        flags = f"--memtx-engine {name} --max-epoch 3 --update-freq 2 --max-tokens 60".split()
        run_training(data, tmp_path / name, *flags, tiny=tiny)
    assert engine.recordings and not engine._broken
    assert engine.recorder.replays >= 10
    got, want = (load(tmp_path / name / "checkpoint_last.pt") for name in ("cuda-graphs", "manual"))
    for name, weight in want["model"].items():
        torch.testing.assert_close(got["model"][name], weight, rtol=1e-4, atol=1e-6)
    losses = [x["extra_state"]["val_loss"] for x in (got, want)]
    assert abs(losses[0] - losses[1]) < 1e-4
