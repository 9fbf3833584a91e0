"""The official WMT14 English-German sets, from their archives to files that ``pipeline`` takes."""

import logging
from pathlib import Path
from typing import Any

from fairseq_memtx.ground.files import count_lines, sha256_of

from .corpus import ParallelFiles, SgmFiles
from .download import Source, fetch
from .extract import extract
from .manifest import WMT14_EN_DE, Archive, Manifest
from .pipeline import Corpora, stamps_of

logger = logging.getLogger(__name__)


def fetch_corpora(
    out: Path, source: Source, manifest: Manifest = WMT14_EN_DE
) -> tuple[Corpora, dict[str, Any]]:
    """Fetch and extract every archive of ``manifest`` that is not extracted yet.

    An archive is needed no more once its stage is done.

    Returns:
        The corpora, and the checksum of each archive.

    Raises:
        UserError: an archive cannot be fetched, is not the right one, or cannot be extracted.
    """
    folder = out / "work" / "official"
    checksums = {a.name: _extract_archive(a, out, folder, source) for a in manifest.archives}
    langs = manifest.source_lang, manifest.target_lang
    train = []
    for name, lines in manifest.train.items():
        files = ParallelFiles(name, *(folder / f"{name}.{lang}" for lang in langs))
        _compare_lines(files, lines)
        train.append(files)
    valid, test = (
        SgmFiles(names[0].split("-src.")[0], folder / names[0], folder / names[1])
        for names in (manifest.valid, manifest.test)
    )
    return Corpora(train, valid, test), {"archives": checksums}


def _extract_archive(archive: Archive, out: Path, folder: Path, source: Source) -> str:
    wanted = {member: folder / name for member, name in archive.members.items()}
    inputs = {"checksum": archive.checksum, "members": dict(archive.members)}

    def work() -> dict[str, Any]:
        path = fetch(archive, source)
        extract(path, wanted)
        return {"checksum": archive.checksum or f"sha256:{sha256_of(path)}"}

    name = "extract-" + archive.name.split(".")[0]
    stamp = stamps_of(out).run(name, inputs, list(wanted.values()), work)
    return stamp["result"]["checksum"]


def _compare_lines(files: ParallelFiles, expected: int) -> None:
    found = count_lines(files.source)
    if found != expected:
        logger.warning("`%s` has %d lines, not %d as others counted", files.name, found, expected)
