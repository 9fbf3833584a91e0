"""`--num-batch-buckets` finds its buckets, and trains in few shapes."""

from pathlib import Path

import numpy as np
import pytest
from fairseq.data import bucket_pad_length_dataset, data_utils
from fairseq.trainer import Trainer

from fairseq_memtx import repairs
from tests.fairseq_memtx.tiny_training import TINY, make_data, run_training

repairs.apply()

SIZES = np.array([3, 3, 4, 9, 12, 12, 20, 21, 30])


@pytest.mark.parametrize("module", [data_utils, bucket_pad_length_dataset])
def test_buckets_are_lengths_that_occur(module) -> None:
    assert module.get_buckets(SIZES, 3).tolist() == [4, 12, 30]
    assert module.get_buckets(SIZES, 1).tolist() == [30]


@pytest.mark.parametrize(
    ("arch", "task"), [("transformer", "translation"), ("memtx_feedback", "memtx_translation")]
)
def test_a_training_has_few_shapes(
    arch: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    step = Trainer.train_step

    def look(trainer, samples, *args, **how):
        seen.update(sample["net_input"]["src_tokens"].size(1) for sample in samples)
        return step(trainer, samples, *args, **how)

    monkeypatch.setattr(Trainer, "train_step", look)
    data = make_data(tmp_path / "data")
    flags = ["--num-batch-buckets", "3", "--max-epoch", "1", "--no-save"]
    run_training(data, tmp_path, *flags, task=task, tiny=TINY.replace("memtx_feedback", arch))
    assert len(seen) == 3


def test_defect_stock_asks_numpy_for_an_interpolation() -> None:
    """Fails once fairseq, or numpy, needs no repair there."""
    with pytest.raises(TypeError, match="interpolation"):
        data_utils.get_buckets.__wrapped__(SIZES, 3)
