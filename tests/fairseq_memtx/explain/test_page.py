"""The page as a file: nothing is loaded, nothing can be injected, the policy lets its own run."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from fairseq_memtx.explain.page import as_data, html_of
from tests.fairseq_memtx.explain.hostile import HOSTILE, hostile_views


class Elements(HTMLParser):
    """The elements of a page with their settings, and what stands in scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        settings = dict(attrs)
        self.found.append((tag, settings))
        self._open = ""
        if tag in ("script", "style"):
            self._open = settings.get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open] = self.inside.get(self._open, "") + data


def test_hostile_texts_are_data_and_nothing_else() -> None:
    views = hostile_views()
    page = html_of(views)
    plain = html_of({**views, "model": "", "sentences": []})
    elements = Elements(page)
    assert elements.found == Elements(plain).found, "a text has made an element"
    assert json.loads(elements.inside["data"]) == views
    assert elements.inside["script"] == Elements(plain).inside["script"]
    assert set(map(chr, range(32))).isdisjoint(elements.inside["data"])


@pytest.mark.parametrize("text", HOSTILE)
def test_data_is_inert_ascii(text: str) -> None:
    written = as_data({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert written.isascii()
    assert not re.search(r"[<>&]", written)


def test_the_policy_names_the_scripts_and_styles_of_the_page() -> None:
    elements = Elements(html_of(hostile_views()))
    (policy,) = (
        settings["content"] or ""
        for tag, settings in elements.found
        if settings.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    for kind in ("script", "style"):
        hashed = hashlib.sha256(elements.inside[kind].encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(hashed).decode()}';" in policy
    assert "unsafe" not in policy


def test_nothing_is_loaded_from_anywhere() -> None:
    elements = Elements(html_of(hostile_views()))
    for tag, settings in elements.found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "href", "srcset", "action", "style"} & set(settings), tag
        assert not [name for name in settings if name.startswith("on")], tag
    program = elements.inside["script"] + elements.inside["style"]
    loads = (
        r"https?:|url\(|@import|fetch\(|XMLHttp|import\(|innerHTML|insertAdjacent|eval\(|Function\("
    )
    assert not re.search(loads, program)
