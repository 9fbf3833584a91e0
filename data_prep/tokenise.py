"""Text before the subwords: control characters, and sacremoses if it is wanted."""

import re
import unicodedata
from collections.abc import Callable

# Cc (CR, U+0085 and the like), the two Unicode line separators, and the byte order mark: as text
# they mean nothing, and some readers take them for the end of a line.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")
# Tabs and the CR of a Windows line end are no reason to call a line dirty.
HARMLESS = re.compile("\t|\r+$")

Process = Callable[[str], str]


def replace_control(text: str) -> str:
    """``text`` with every run of control characters replaced by one space, stripped."""
    return CONTROL.sub(" ", text).strip()


def has_control(text: str) -> bool:
    """Whether ``text`` holds a control character other than a tab or a final CR."""
    return CONTROL.search(HARMLESS.sub("", text)) is not None


def make_process(lang: str, tokenizer: str, normalize: bool) -> Process:
    """The function that turns a line without control characters into what sentencepiece sees.

    sacremoses is called with ``escape=False``: sentencepiece needs no escapes, and there is then
    nothing to undo before detokenising.
    """
    steps: list[Process] = []
    if normalize:
        from sacremoses import MosesPunctNormalizer

        steps.append(MosesPunctNormalizer(lang=lang).normalize)
    if tokenizer == "moses":
        from sacremoses import MosesTokenizer

        moses = MosesTokenizer(lang=lang)
        steps.append(lambda text: moses.tokenize(text, escape=False, return_str=True))

    def process(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return process


def is_blank(text: str) -> bool:
    """Whether nothing of ``text`` would be left to translate (spaces and format characters)."""
    return all(c.isspace() or unicodedata.category(c) in ("Cf", "Cc") for c in text)
