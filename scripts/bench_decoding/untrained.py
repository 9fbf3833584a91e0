"""Untrained models of a named size, to time decoding.

``python -m scripts.bench_decoding.untrained --out FOLDER`` writes them.

The speed of a search does not depend on what the model has learnt, if the length of the output is
forced. The folder gets ``bin/`` with a dictionary of made-up words and a test set of random ones,
``shortlist.npz`` with random words, both drawn by Zipf's law, and ``DECODER-E-D.pt``, a model of E
encoder and D decoder layers, for each that is asked for. ``python -m scripts.bench_decoding
--untrained`` times them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_memtx.checkpoints.saving import save
from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import command_line
from fairseq_memtx.ground.files import atomic_writers, renamed_together
from fairseq_memtx.ground.shell import TASK

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

LANGUAGES = ("en", "de")
SYMBOLS = 4  # begin, padding, end, unknown: in every dictionary of fairseq's

#: Flags of fairseq-train beside the architecture's own; base is that of Vaswani et al. 2017,
#: small that of the experiment on Multi30k.
SIZES = {
    "base": [],
    "small": [
        f"--{side}-{name}"
        for side in ("encoder", "decoder")
        for name in ("embed-dim=256", "ffn-embed-dim=1024", "attention-heads=4")
    ],
    "tiny": ["--encoder-embed-dim=16", "--encoder-ffn-embed-dim=16", "--encoder-attention-heads=2"]
    + ["--decoder-embed-dim=16", "--decoder-ffn-embed-dim=16", "--decoder-attention-heads=2"],
}


def make(args: argparse.Namespace) -> list[Path]:
    """Write the data, the shortlist and all models; returns the checkpoints."""
    data = args.out / "bin"
    data.mkdir(parents=True, exist_ok=True)
    write_corpus(data, args.vocab_size, args.lines, args.source_length, args.seed)
    write_shortlist(args.out / "shortlist.npz", args.vocab_size, args.seed)
    made = []
    for decoder in args.decoders:
        for encoder_layers, decoder_layers in args.layers:
            path = args.out / f"{decoder}-{encoder_layers}-{decoder_layers}.pt"
            flags = [f"--encoder-layers={encoder_layers}", f"--decoder-layers={decoder_layers}"]
            architecture = DECODERS[decoder].architecture
            write_model(path, data, architecture, [*flags, *SIZES[args.size]], args.seed)
            logger.info("wrote %s", path)
            made.append(path)
    return made


def write_corpus(data: Path, vocab_size: int, lines: int, length: int, seed: int) -> None:
    """Dictionaries, and a test set of sentences of ``length / 2`` to ``3 / 2 length`` words."""
    import numpy as np
    from fairseq.data import Dictionary

    from data_prep.binarise import BlockBuilder, best_fitting_int_dtype

    dictionary = Dictionary()
    for number in range(vocab_size - SYMBOLS):
        dictionary.add_symbol(f"word{number}")
    rng, dtype = np.random.default_rng(seed), best_fitting_int_dtype(vocab_size)
    sizes = 1 + rng.integers(length // 2, 1 + length * 3 // 2, lines)
    ids = draw_words(rng, vocab_size, sizes.sum()).astype(dtype)
    ids[sizes.cumsum() - 1] = dictionary.eos()
    for language in LANGUAGES:
        prefix = data / f"test.{'-'.join(LANGUAGES)}.{language}"
        files = [
            data / f"dict.{language}.txt",
            *(Path(f"{prefix}.{end}") for end in ("bin", "idx")),
        ]
        with renamed_together(files) as name:
            dictionary.save(str(name(files[0])))
            builder = BlockBuilder(str(name(files[1])), dtype)
            builder.add_block(ids, sizes)
            builder.finalize(str(name(files[2])))


def write_shortlist(path: Path, vocab_size: int, seed: int) -> None:
    """As many words for each source word as `memtx shortlist` allows at its defaults."""
    import numpy as np
    import torch

    from fairseq_memtx.commands.shortlist import FREQUENT, TRANSLATIONS
    from fairseq_memtx.decoding.shortlist import Shortlist

    shape = vocab_size, min(TRANSLATIONS, vocab_size)
    translations = draw_words(np.random.default_rng(seed), vocab_size, shape).astype(np.int32)
    always = torch.arange(min(SYMBOLS + FREQUENT, vocab_size))
    Shortlist(torch.from_numpy(translations), always, vocab_size).save(path)


def draw_words(rng: np.random.Generator, vocab_size: int, shape: Any) -> np.ndarray:
    """Random words, the n-th with a probability of `1 / (n + 2.7)`, as in text."""
    import numpy as np

    weights = 1 / (np.arange(1, vocab_size - SYMBOLS + 1) + 2.7)
    return SYMBOLS + rng.choice(len(weights), shape, p=weights / weights.sum())


def write_model(path: Path, data: Path, architecture: str, flags: Sequence[str], seed: int) -> None:
    """The checkpoint that fairseq-train would leave before its first update."""
    import torch
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import fairseq_memtx.plugin  # noqa: F401  (registers task and models)

    line = [str(data), "--task", TASK, "--arch", architecture, "--share-all-embeddings", *flags]
    parsed = options.parse_args_and_arch(options.get_training_parser(), input_args=line)
    config = convert_namespace_to_omegaconf(parsed)
    torch.manual_seed(seed)
    model = tasks.setup_task(config.task).build_model(config.model)
    state = {
        "args": None,
        "cfg": config,
        "model": model.state_dict(),
        "optimizer_history": [{"num_updates": 0, "optimizer_name": "", "lr_scheduler_state": {}}],
        "last_optimizer_state": None,
        "extra_state": {},
    }
    with atomic_writers(path) as (file,):
        save(state, file)


def layers(text: str) -> list[tuple[int, int]]:
    """An argument type: ``E-D,...``, layers of encoder and decoder."""
    found = []
    for pair in command_line.comma_list(text):
        numbers = pair.split("-")
        if len(numbers) != 2 or not all(number.isdecimal() and int(number) for number in numbers):
            raise argparse.ArgumentTypeError(f"{text} is not such as 6-6,6-1")
        found.append((int(numbers[0]), int(numbers[1])))
    return found


def vocabulary(text: str) -> int:
    """An argument type: a size that leaves room for some words."""
    size = command_line.positive_int(text)
    if size < 2 * SYMBOLS:
        raise argparse.ArgumentTypeError(
            f"{size} is too small: it has to be at least {2 * SYMBOLS}"
        )
    return size


def decoders(text: str) -> tuple[str, ...]:
    """An argument type: names of decoders."""
    names = command_line.comma_list(text)
    for name in names:
        if name not in DECODERS:
            known = ", ".join(DECODERS)
            raise argparse.ArgumentTypeError(f"{name} is not among {known}")
    return names


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``python -m scripts.bench_decoding.untrained``."""
    parser = argparse.ArgumentParser(
        prog="scripts.bench_decoding.untrained", description=__doc__.split("\n")[0]
    )
    add, whole = parser.add_argument, command_line.positive_int
    add("--out", type=Path, required=True, help="folder, such as runs/untrained")
    add("--size", choices=SIZES, default="base", help="width of all layers")
    add("--decoders", type=decoders, default=("transformer", "feedback"))
    add("--layers", type=layers, default=[(6, 6), (6, 2), (6, 1)], help="of encoder and decoder")
    add("--vocab-size", type=vocabulary, default=32_000, help="of the joined dictionary")
    add("--lines", type=whole, default=512, help="of the test set")
    add("--source-length", type=whole, default=30, help="words of a sentence in the mean")
    add("--seed", type=whole, default=1)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``python -m scripts.bench_decoding.untrained``."""
    args = parse_args(argv)
    return command_line.run(lambda: make(args))


if __name__ == "__main__":
    raise SystemExit(main())
