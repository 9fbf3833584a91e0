"""Fixtures of the decoders' tests; what they are made of is in `tiny`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairseq import checkpoint_utils, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import preprocess, train

from tests.fairseq_memtx.tiny import build_model


@pytest.fixture
def tiny_model() -> Callable[..., Any]:
    """Make a tiny model in float64: `tiny_model(memtx_memory_span=2)`; see `tiny.build_model`."""
    return build_model


@pytest.fixture
def tiny_decoder() -> Callable[..., Any]:
    """Make the decoder of a tiny model."""
    return lambda **settings: build_model(**settings).decoder


@pytest.fixture(scope="session")
def binarised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translation set of random words: 96 pairs to train on, 8 to validate."""
    folder = tmp_path_factory.mktemp("binarised")
    random = np.random.RandomState(3)
    for split, lines in (("train", 96), ("valid", 8)):
        for language in ("en", "de"):
            words = [" ".join(f"{language}{i}" for i in random.randint(20, size=6))] * lines
            (folder / f"{split}.{language}").write_text("\n".join(words) + "\n")
    prefixes = ["--trainpref", str(folder / "train"), "--validpref", str(folder / "valid")]
    parser = options.get_preprocessing_parser()
    languages = ["-s", "en", "-t", "de", "--destdir", str(folder / "bin")]
    preprocess.main(parser.parse_args([*languages, *prefixes]))
    return folder / "bin"


@pytest.fixture
def fairseq_train(binarised: Path, tmp_path: Path) -> Callable[..., None]:
    """`fairseq-train` in this process, 12 updates an epoch, saving to `tmp_path`."""

    def run(*flags: str, data: Path = binarised) -> None:
        vars(checkpoint_utils.save_checkpoint).pop("best", None)
        parser = options.get_training_parser()
        fixed = "--arch transformer_tiny --optimizer adam --lr 1e-3 --batch-size 8 --cpu"
        fixed += " --num-workers 0 --no-progress-bar --max-epoch 2 --no-epoch-checkpoints"
        arguments = [str(data), *fixed.split(), "--save-dir", str(tmp_path), *flags]
        train.main(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, arguments)))

    return run
