"""Subwords: a joint sentencepiece model trained on a bounded sample of the training text."""

import hashlib
import io
import logging
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes

from .corpus import BLOCK_LINES, read_lines
from .options import Options

logger = logging.getLogger(__name__)

# Longer lines are left out of the training of subwords (not of the corpus).
MAX_LINE_BYTES = 8192
# Constant, not the number of workers: the result must not depend on the machine.
TRAINER_THREADS = 2


def kept_blocks(keep: Path, *columns: Path) -> Iterator[tuple[list[bytes], ...]]:
    """Blocks of those lines of parallel files for which the byte in ``keep`` is 1."""
    readers = [read_lines(path) for path in columns]
    with keep.open("rb") as file:
        while flags := file.read(BLOCK_LINES):
            blocks = [list(islice(reader, len(flags))) for reader in readers]
            yield tuple(
                [line for line, flag in zip(block, flags, strict=True) if flag] for block in blocks
            )


def sample(keep: Path, sides: tuple[Path, Path], pairs: int, options: Options) -> Iterator[bytes]:
    """Both sides of at most ``options.spm_sample`` of the ``pairs`` kept pairs, one after another.

    The choice is uniform without replacement and depends on the seed and ``pairs`` only. Memory: 8
    bytes for each chosen pair.
    """
    size = min(pairs, options.spm_sample)
    generator = np.random.default_rng(options.seed)
    chosen = np.sort(generator.choice(pairs, size, replace=False, shuffle=False))
    start = 0
    for sources, targets in kept_blocks(keep, *sides):
        low, high = np.searchsorted(chosen, (start, start + len(sources)))
        for index in chosen[low:high] - start:
            yield sources[index].removesuffix(b"\n")
            yield targets[index].removesuffix(b"\n")
        start += len(sources)


def train(
    sentences: Iterator[bytes], model: Path, vocabulary: Path, options: Options
) -> dict[str, Any]:
    """Train on ``sentences`` and write ``model`` and its list of pieces.

    Raises:
        UserError: the text does not bear the vocabulary size, or a piece is no fairseq symbol.
    """
    import sentencepiece

    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            # Not a file: its path would become part of the model.
            sentence_iterator=sentences,
            model_writer=written,
            vocab_size=options.vocab_size,
            model_type=options.model_type,
            character_coverage=options.character_coverage,
            byte_fallback=options.byte_fallback,
            num_threads=TRAINER_THREADS,
            max_sentence_length=MAX_LINE_BYTES,
            input_sentence_size=0,
            minloglevel=1,
        )
    except (RuntimeError, OSError) as error:
        raise _trainer_error(error, options) from error
    content = written.getvalue()
    pieces = check_pieces(load(content))
    write_bytes(vocabulary, "".join(f"{piece}\n" for piece in pieces).encode())
    write_bytes(model, content)
    return {"pieces": len(pieces), "sha256": hashlib.sha256(content).hexdigest()}


def _trainer_error(error: Exception, options: Options) -> UserError:
    told = " ".join(str(error).split())
    most, least = re.search(r"a value <= (\d+)", told), re.search(r"\d+ vs (\d+)", told)
    rule = f"at most {most[1]}" if most else f"at least {least[1]}" if least else "another"
    if "vocab_size" in told:
        return UserError(
            f"`--vocab-size` is {options.vocab_size}: for this text it has to be {rule}"
        )
    return UserError(f"sentencepiece cannot train on the text: {told}")


def check_pieces(model: Any) -> list[str]:
    """The pieces of a model in the order of their ids, checked to be possible fairseq symbols.

    fairseq splits text on any Unicode space and reads one symbol a line, so a piece may hold none.
    """
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    ordinary = [p for i, p in enumerate(pieces) if not (model.is_control(i) or model.is_unknown(i))]
    for piece in ordinary:
        if piece.split() != [piece] or piece in ("<s>", "<pad>", "</s>", "<unk>"):
            raise UserError(f"the sentencepiece piece {piece!r} is not a word to fairseq")
    return pieces


def load(content: bytes) -> Any:
    """A sentencepiece processor from a serialised model."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=content)


def load_checked(model: Path, sha256: str) -> Any:
    """Load a model after comparing its SHA-256 (a truncated model may load without a word).

    Raises:
        UserError: the file is not the one that was trained.
    """
    content = model.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(
            f"`{model}` has the SHA-256 {found} instead of {sha256}: delete it and run the same"
            " command again"
        )
    return load(content)
