"""Searches for tiny models: batches, what a generator finds, and when two find the same."""

from itertools import chain
from pathlib import Path
from typing import Any

import torch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from fairseq_memtx.tasks.translation import MemtxTranslationConfig, MemtxTranslationTask
from tests.fairseq_memtx.tiny import random_tokens, tiny_dictionary

DICTIONARY = tiny_dictionary()


SOURCE_LENGTHS = [4, 2, 5]


FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}  # fairseq normalises and adds up scores in float32


def sample(lengths: list[int] = SOURCE_LENGTHS) -> dict[str, Any]:
    """A batch of random sources, padded on the left as fairseq does."""
    tokens = random_tokens(lengths, "left", first=5)
    tokens[:, -1] = DICTIONARY.eos()
    net_input = {"src_tokens": tokens, "src_lengths": torch.tensor(lengths)}
    return {"id": torch.arange(len(lengths)), "net_input": net_input}


def generate(
    models: list[Any],
    batch: dict[str, Any],
    kind: Any = SequenceGenerator,
    call: Any = None,
    **how: Any,
) -> list[list[dict[str, Tensor]]]:
    how = {"beam_size": 3, "max_len_b": 6, **how}
    torch.manual_seed(3)
    own_limits = how.pop("own_limits", False)
    generator = kind(models, DICTIONARY, **how)
    generator.own_limits = own_limits
    return generator.generate(models, batch, **(call or {}))


def numbers(alignment: Any) -> Tensor:
    """Hard alignments are pairs, soft ones rows of text."""
    return torch.as_tensor([[float(x) for x in row] for row in alignment])


def same_hypotheses(got: Any, want: Any) -> None:
    assert [len(hypos) for hypos in got] == [len(hypos) for hypos in want]
    for a, b in zip(chain.from_iterable(got), chain.from_iterable(want), strict=True):
        assert a["tokens"].tolist() == b["tokens"].tolist()
        torch.testing.assert_close(a["score"], b["score"], **FLOAT32)
        torch.testing.assert_close(a["positional_scores"], b["positional_scores"], **FLOAT32)
        torch.testing.assert_close(a["attention"], b["attention"], **FLOAT32)
        torch.testing.assert_close(numbers(a["alignment"]), numbers(b["alignment"]), **FLOAT32)


def task_of(folder: Path, **options: Any) -> Any:
    for language in ("en", "de"):
        DICTIONARY.save(str(folder / f"dict.{language}.txt"))
    names = {f"memtx_{name}": value for name, value in options.items()}
    config = MemtxTranslationConfig(
        data=str(folder), source_lang="en", target_lang="de", finetune_from_model=None, **names
    )
    return MemtxTranslationTask.setup_task(config)
