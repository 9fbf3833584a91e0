"""Vocabulary shortlists: the words that a batch's translations may have.

A projection to the whole vocabulary is most of the work of a shallow decoder. A lexical table names
the likely translations of each source word; these, the most frequent words of the language, and the
dictionary's symbols are all that is projected to (Jean et al. 2015, arXiv 1412.2007, section 3).
"""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ground.files import atomic_writers

FORMAT = "memtx-shortlist-1"
#: A file's arrays have at most so many times its bytes: real lists have a few times.
MOST_PACKED = 100


@dataclass(frozen=True)
class Shortlist:
    """What is allowed for each source word.

    Attributes:
        translations: `(V_source, k)` int32, likely target words of each source word, -1 for none.
        always: `(n,)` int64, target words that are always allowed.
        num_targets: V of the target side.
        dictionaries: `fingerprint` of the dictionaries that the numbers are of; "" if not known.
    """

    translations: Tensor
    always: Tensor
    num_targets: int
    dictionaries: str = ""

    def words(self, src_tokens: Tensor, needed: Sequence[Tensor] = ()) -> Tensor:
        """The words allowed for a batch of sources `(B, S)`, sorted, `(n,)` int64.

        Its padding is a source word without translations. The `needed` target words, tensors of
        any shape, are allowed too.
        """
        # numpy's operations on few numbers take a fraction of the time of torch's
        allowed = np.zeros(self.num_targets + 1, dtype=np.bool_)
        # -1 marks the place after the last word
        allowed[self.translations.numpy()[src_tokens.cpu().numpy()]] = True
        for words in (self.always, *needed):
            allowed[words.cpu().numpy()] = True
        return torch.from_numpy(allowed[:-1].nonzero()[0]).to(src_tokens.device)

    def save(self, path: Path) -> None:
        """Write it as numpy's compressed arrays, by way of a temporary name."""
        with atomic_writers(path) as (file,):
            np.savez_compressed(
                file,
                format=np.array(FORMAT),
                translations=self.translations.numpy(),
                always=self.always.numpy(),
                num_targets=np.array(self.num_targets),
                dictionaries=np.array(self.dictionaries),
            )

    @classmethod
    def load(
        cls, path: Path, num_sources: int, num_targets: int, dictionaries: str = ""
    ) -> "Shortlist":
        """Read it.

        Args:
            path: the file.
            num_sources, num_targets: sizes of the model's dictionaries.
            dictionaries: their `fingerprint`; "" to compare the sizes alone.

        Raises:
            ValueError: where the file is none, or was made for other dictionaries.
        """
        if path.is_file() and not zipfile.is_zipfile(path):
            raise ValueError(f"`{path}` is not a shortlist, or is cut short")
        try:
            _check_packed(path)
            with np.load(path, allow_pickle=False) as file:
                arrays: dict[str, Any] = dict(file)
        except FileNotFoundError:
            raise ValueError(
                f"there is no shortlist `{path}`: `memtx shortlist` makes one"
            ) from None
        except Exception as error:  # zipfile, numpy and zlib each have their own
            raise ValueError(f"the shortlist `{path}` is damaged: {error}") from error
        if str(arrays.get("format")) != FORMAT:
            raise ValueError(f"`{path}` is not a shortlist")
        found = (len(arrays["translations"]), int(arrays["num_targets"]))
        if found != (num_sources, num_targets):
            raise ValueError(
                f"the shortlist `{path}` is for dictionaries of {found[0]} and {found[1]} words,"
                f" not of {num_sources} and {num_targets}"
            )
        made_for = str(arrays.get("dictionaries", ""))  # which the first files did not tell
        if made_for and dictionaries and made_for != dictionaries:
            raise ValueError(
                f"the shortlist `{path}` is for other dictionaries than the model's, of the same"
                " sizes"
            )
        translations, always = (torch.from_numpy(arrays[n]) for n in ("translations", "always"))
        return cls(translations, always, num_targets, made_for)


def _check_packed(path: Path) -> None:
    """Refuse a file whose arrays would take far more memory than a list of its size does.

    Raises:
        ValueError: see `MOST_PACKED`.
    """
    with zipfile.ZipFile(path) as archive:
        total = sum(part.file_size for part in archive.infolist())
    if total > MOST_PACKED * path.stat().st_size:
        raise ValueError(f"its arrays would take {total:,} bytes")


def fingerprint(sources: Sequence[str], targets: Sequence[str]) -> str:
    """What tells two dictionaries, words in the order of their numbers, from others."""
    sides = ("\n".join(words) for words in (sources, targets))
    return hashlib.sha256("\n\n".join(sides).encode()).hexdigest()
