"""Getting the public texts of `public_texts` into a folder of corpora, each checked by its SHA-256.

A file that is there already is checked and kept. Otherwise it is copied from a local folder, or
fetched from its public origin; it appears under its name only once it was found right.
"""

import gzip
import hashlib
import logging
import time
import urllib.error
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.ground.files import write_bytes

from .public_texts import PUBLIC_TEXTS, PublicText

logger = logging.getLogger(__name__)

ATTEMPTS = 3
TIMEOUT_SECONDS = 60.0
ENDINGS = ("", ".gz")


def fetch_texts(
    name: str, out: Path, local_dir: Path | None = None, wait: float = 2.0
) -> list[Path]:
    """Make sure that `out` has all files of a public text.

    Args:
        name: of `PUBLIC_TEXTS`.
        out: the folder of corpora.
        local_dir: a folder that may hold the files, by path or by name, plain or by gzip.
        wait: seconds before a download is tried again.

    Raises:
        UserError: a file is not the right one, or is nowhere to be had.
    """
    if local_dir is not None and not local_dir.is_dir():
        raise UserError(f"`--local-dir {local_dir}` is not a folder")
    return [_get(text, out, local_dir, wait) for text in PUBLIC_TEXTS[name]]


def _get(text: PublicText, out: Path, local_dir: Path | None, wait: float) -> Path:
    present = _find(out, text.path)
    if present is not None:
        _require_right(text, present.read_bytes(), present)
        logger.info("%s: there, and right", text.path)
        return present
    folder = local_dir or out
    local = _find(folder, text.path) or _find(folder, text.name)
    if local is not None:
        content, ending = local.read_bytes(), local.suffix if local.suffix == ".gz" else ""
        _require_right(text, content, local)
    elif text.url:
        content, ending = _download(text, wait), ".gz" if text.url.endswith(".gz") else ""
    else:
        raise UserError(
            f"`{text.path}` has no public address known here: give a folder that holds it by"
            " `--local-dir`"
        )
    path = out / f"{text.path}{ending}"
    write_bytes(path, content)
    logger.info("%s: %s", text.path, "copied" if local else f"fetched from {text.url}")
    return path


def _find(folder: Path, path: str) -> Path | None:
    candidates = (folder / f"{path}{ending}" for ending in ENDINGS)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _require_right(text: PublicText, content: bytes, path: Path) -> None:
    if problem := _problem(text, content):
        raise UserError(f"`{path}` is not the text of that name ({problem}): remove it")


def _problem(text: PublicText, content: bytes) -> str:
    """What is wrong with the content of a file, plain or by gzip; "" where it is right."""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            return f"its gzip data is damaged: {error}"
    if len(content) != text.size:
        return f"it has {len(content)} bytes instead of {text.size}"
    sha256 = hashlib.sha256(content).hexdigest()
    return "" if sha256 == text.sha256 else f"its SHA-256 is {sha256}"


def _download(text: PublicText, wait: float) -> bytes:
    """The file at the text's address.

    Raises:
        UserError: it cannot be had, or is another text.
    """
    for attempt in range(ATTEMPTS):
        try:
            request = urllib.request.Request(text.url, headers={"User-Agent": "data_prep"})
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                content = response.read()
            break
        except (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
            if attempt == ATTEMPTS - 1:
                raise UserError(
                    f"`{text.url}` could not be fetched ({error}): try again later, or give a"
                    " folder that holds it by `--local-dir`"
                ) from error
            time.sleep(wait * 2**attempt)
    if problem := _problem(text, content):
        raise UserError(
            f"`{text.url}` is another text by now ({problem}): give a folder that holds the right"
            " one by `--local-dir`"
        )
    return content
