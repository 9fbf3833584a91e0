"""A random parallel set in fairseq's binary form, and trainings on it in this process."""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils, options
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from fairseq_cli import train

import fairseq_memtx.plugin  # noqa: F401  (registers the task)
from tests.fairseq_memtx.ranks import run_two_processes

WORDS = 12


def write_dictionary(folder: Path, words: int = WORDS) -> Dictionary:
    """The same dictionary of `words` words for both languages."""
    dictionary = Dictionary()
    for number in range(words):
        dictionary.add_symbol(f"w{number}", n=words - number)
    for language in ("en", "de"):
        dictionary.save(str(folder / f"dict.{language}.txt"))
    return dictionary


def write_pairs(folder: Path, split: str, lengths: list[tuple[int, int]], seed: int) -> None:
    """Random sentences with `(source, target)` words each; the end symbol comes on top."""
    dictionary = write_dictionary(folder)
    random = np.random.RandomState(seed)
    for side, language in enumerate(("en", "de")):
        prefix = str(folder / f"{split}.en-de.{language}")
        builder = MMapIndexedDatasetBuilder(prefix + ".bin", dtype=np.int32)
        for pair in lengths:
            words = random.randint(dictionary.nspecial, len(dictionary), size=pair[side])
            builder.add_item(torch.from_numpy(np.append(words, dictionary.eos())))
        builder.finalize(prefix + ".idx")


def write_docids(folder: Path, split: str, sizes: list[int]) -> None:
    """Documents of so many pairs each."""
    ids = [f"{split}-{number}\n" for number, size in enumerate(sizes) for _ in range(size)]
    (folder / f"{split}.docid").write_text("".join(ids))


def random_lengths(pairs: int, seed: int, longest: int = 20) -> list[tuple[int, int]]:
    """Lengths of sources from 1 to `longest` words, and of targets that resemble them."""
    random = np.random.RandomState(seed)
    source = 1 + (random.beta(2, 3, size=pairs) * longest).astype(int)
    target = np.maximum(1, source + random.randint(-2, 3, size=pairs))
    return list(zip(source.tolist(), target.tolist(), strict=True))


def make_data(folder: Path, train_pairs: int = 120, seed: int = 0) -> Path:
    """A set with training and validation pairs."""
    folder.mkdir(parents=True)
    write_pairs(folder, "train", random_lengths(train_pairs, seed), seed)
    write_pairs(folder, "valid", random_lengths(12, seed + 1), seed + 1)
    return folder


def make_text(folder: Path, tokens: int = 230) -> Path:
    """A text of random words to train a language model on."""
    folder.mkdir(parents=True, exist_ok=True)
    dictionary, random = Dictionary(), np.random.RandomState(0)
    for number in range(10):
        dictionary.add_symbol(f"w{number}")
    dictionary.save(str(folder / "dict.txt"))
    builder = MMapIndexedDatasetBuilder(str(folder / "train.bin"), dtype=np.int32)
    builder.add_item(torch.from_numpy(random.randint(4, len(dictionary), size=tokens)))
    builder.finalize(str(folder / "train.idx"))
    return folder


#: A model of a few hundred weights, with dropout, since random numbers must survive a resume too.
TINY = (
    "--arch memtx_feedback --encoder-layers 1 --decoder-layers 1 --dropout 0.1"
    " --encoder-embed-dim 8 --encoder-ffn-embed-dim 8 --encoder-attention-heads 2"
    " --decoder-embed-dim 8 --decoder-ffn-embed-dim 8 --decoder-attention-heads 2"
    " --optimizer adam --lr 0.01 --max-tokens 120 --clip-norm 1.0"
    " --num-workers 0 --no-progress-bar --log-format none --cpu"
    " --required-batch-size-multiple 1"
)


def config_of(
    data: Path | str,
    save_dir: Path,
    *flags: str,
    task: str = "memtx_translation",
    tiny: str = TINY,
) -> Any:
    """fairseq's configuration of a tiny training."""
    words = (str(data), "--task", task, "--save-dir", str(save_dir), *tiny.split(), *flags)
    return copy.deepcopy(_parse(words))


@functools.lru_cache
def _parse(words: tuple[str, ...]) -> Any:
    # remembered, since fairseq takes half a second to read its flags
    args = options.parse_args_and_arch(options.get_training_parser(), list(words))
    return convert_namespace_to_omegaconf(args)


def run_training(data: Path | str, save_dir: Path, *flags: str, **kwargs: Any) -> None:
    """`fairseq-train` in this process."""
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    train.main(config_of(data, save_dir, *flags, **kwargs))


def load(path: Path) -> dict[str, Any]:
    """A checkpoint."""
    return torch.load(path, weights_only=True)


def assert_same_training(one: Path, other: Path) -> None:
    """Two checkpoints hold bit for bit the same weights, optimizer state and position."""
    left, right = load(one), load(other)
    assert_equal(left["model"], right["model"])
    assert_equal(left["last_optimizer_state"], right["last_optimizer_state"])
    # each start adds an entry to the history; the last one holds what training goes on from
    assert left["optimizer_history"][-1] == right["optimizer_history"][-1]
    assert_equal(left["extra_state"]["train_iterator"], right["extra_state"]["train_iterator"])


def assert_equal(left: Any, right: Any) -> None:
    """Nested containers are equal, tensors bit for bit."""
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_equal(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_equal(*pair)
    else:
        assert left == right


def run_two_ranks(
    data: Path | str, save_dir: Path, *flags: str, seconds: float = 300, **kwargs: Any
) -> None:
    """The same on two processes that talk through gloo; both must end within `seconds`."""
    run_two_processes(run_rank, rank_config(data, save_dir, *flags, **kwargs), seconds=seconds)


def rank_config(data: Path | str, save_dir: Path, *flags: str, **kwargs: Any) -> Any:
    """`config_of` for two processes, for `run_rank`."""
    save_dir.parent.mkdir(parents=True, exist_ok=True)
    meeting = save_dir.with_suffix(f".meeting{len(list(save_dir.parent.iterdir()))}")
    ranks = "--distributed-world-size 2 --distributed-backend gloo --ddp-backend legacy_ddp"
    ranks += f" --distributed-no-spawn --distributed-init-method file://{meeting}"
    return config_of(data, save_dir, *ranks.split(), *flags, **kwargs)


def run_rank(rank: int, cfg: Any) -> None:
    """One of the two."""
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    cfg.distributed_training.distributed_rank = rank
    distributed_utils.call_main(cfg, train.main)
