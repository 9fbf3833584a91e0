"""The files of a model's folder, and opening them without following anything out of it."""

from pathlib import Path

from ..ground.errors import UserError
from ..ground.layout import SUBWORD_MODEL

FORMAT = "memtx-folder-1"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
VOCABULARY = "vocab.json"
SHORTLIST = "shortlist.npz"
CARD = "README.md"
#: What is read beside the configuration, which has their hashes, and the most bytes of each.
READ = {WEIGHTS: 2**46, VOCABULARY: 2**28, SUBWORD_MODEL: 2**28, SHORTLIST: 2**32}
MOST_CONFIG = 2**24


def file_in(folder: Path, name: str, most: int) -> Path:
    """A file of the folder.

    Args:
        folder: the folder.
        name: of the file.
        most: bytes that it may have.

    Raises:
        UserError: where it is missing, no plain file, a link out of the folder, or too large.
    """
    path = folder / name
    try:
        real = path.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"there is no `{path}`: a model's folder has it, copy the folder again or export the"
            " model anew"
        ) from None
    except (OSError, RuntimeError) as error:  # a link to itself
        raise UserError(f"`{path}` cannot be opened: {error}") from None
    if not real.is_relative_to(folder.resolve()):
        raise UserError(f"`{path}` is a link out of its folder: put the file itself there")
    if not real.is_file():
        raise UserError(f"`{path}` is no plain file: copy the folder again")
    if real.stat().st_size > most:
        raise UserError(f"`{path}` has more than {most:,} bytes: it is none of a model's folder")
    return real
