"""Lets every checkpoint appear by rename, copies such as `checkpoint_last.pt` too.

fairseq copies over the old file, so a death in the middle leaves half a file under the name that
every later start loads. When a save fails it tries again behind what it has written, and leaves its
temporary file. May go once fairseq copies by rename.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..checkpoints.saving import save
from ..ground.errors import UserError
from ..ground.writing import new_files
from ..repairs.wrapping import wrap


def apply() -> None:
    """Wrap what saves and what copies a checkpoint."""
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    wrap(PathManager, "copy", _copy)
    wrap(checkpoint_utils, "torch_persistent_save", _save)


@contextlib.contextmanager
def written_whole(path: str) -> Iterator[BinaryIO]:
    """Open a file that appears under `path` only when the block ends without an error.

    Raises:
        UserError: where the system refuses to write; what was there before is unchanged.
    """
    try:
        # A link gives way to the file: a training must not end for one, and what it leads to stays.
        # The temporary name is fairseq's own: what a killed run leaves is never loaded.
        with new_files([Path(path)], replace_links=True) as (new,):
            yield new.file
    except OSError as error:
        raise UserError(
            f"`{path}` could not be written ({error.strerror}); what was there before is "
            "unchanged. Mend that and start the same command again to go on from the last save."
        ) from error


def _copy(stock: Callable[..., Any], src_path: str, dst_path: str, overwrite: bool = False) -> Any:
    from fairseq.file_io import PathManager

    if not (PathManager.supports_rename(src_path) and PathManager.supports_rename(dst_path)):
        return stock(src_path, dst_path, overwrite=overwrite)
    with open(src_path, "rb") as source, written_whole(dst_path) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return True


def _save(stock: Callable[..., Any], obj: Any, filename: str, async_write: bool = False) -> None:
    from fairseq.file_io import PathManager

    if async_write or not PathManager.supports_rename(filename):
        stock(obj, filename, async_write=async_write)
        return
    with written_whole(filename) as stream:
        save(obj, stream)
