"""The server's page in a real browser: typing, choosing, comparing; and texts that are hostile.

Needs Playwright's package (`requirements/browser.txt`) and a Chromium of the system's.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fairseq_memtx.serving.app import Served, Server
from fairseq_memtx.serving.batching import SharedBatches, Wish
from fairseq_memtx.serving.limits import RequestLimits
from fairseq_memtx.serving.metrics import Metrics
from fairseq_memtx.translation.results import Translation
from tests.browser import CHROMIUM, keep_picture
from tests.fairseq_memtx.serving.running import Client, running

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (requirements/browser.txt)"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
LIMITS = RequestLimits(window=0.0, characters=200)


def found(name: str, wish: Wish, lines: Sequence[str]) -> list[list[Translation]]:
    """Texts that tell what they were asked for with."""
    return [
        [Translation(f"{name} {wish.beam}.{rank}: {line}", -rank) for rank in range(wish.nbest)]
        for line in lines
    ]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    served = {}
    for name in ("one", "two"):
        batches = SharedBatches(lambda wish, lines, name=name: found(name, wish, lines), LIMITS)
        about = {"source_lang": "en", "target_lang": "de", "explained": name == "one"}
        served[name] = Served(about, batches, lambda line, beam, nbest: "<p>inside</p>")
    with running(Server(served, LIMITS, Metrics())) as asking:
        yield asking


@pytest.fixture
def page(client: Client) -> Iterator[Any]:
    """The page; what its script or policy complains of fails the test at the end."""
    wrong: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 360, "height": 800})
        opened.on("console", lambda message: wrong.append(message.text))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.goto(f"http://127.0.0.1:{client.port}/")
        opened.locator(".side").wait_for()
        yield opened
        browser.close()
    # a browser tells each refusal, which is no mistake of the page
    assert [one for one in wrong if "responded with a status of 400" not in one] == []


def test_it_translates_as_one_pauses(page: Any) -> None:
    page.get_by_role("textbox").fill("hello\n\nworld")
    page.get_by_text("one 5.0: world").wait_for()
    texts = page.locator(".lines bdi").all_inner_texts()
    assert [text.strip() for text in texts] == ["one 5.0: hello", "one 5.0:", "one 5.0: world"]
    assert page.locator(".lines bdi").first.get_attribute("lang") == "de"
    links = page.get_by_role("link", name="What the model attended to in line 1")
    assert "line=hello" in links.get_attribute("href")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_one_of_several_is_picked_and_models_compared(page: Any) -> None:
    page.get_by_role("textbox").fill("hello")
    page.get_by_label("Translations", exact=True).fill("3")
    page.get_by_label("Translations", exact=True).blur()
    page.get_by_text("one 5.2: hello").wait_for()
    picked = page.get_by_role("radio").nth(1)
    picked.check()
    assert page.get_by_role("radio").nth(0).is_checked() is False
    page.get_by_role("button", name="Compare with another model or beam").click()
    page.get_by_text("two 5.0: hello").wait_for()
    second = page.get_by_role("region", name="Second translation")
    second.get_by_label("Beam").fill("2")
    second.get_by_label("Beam").blur()
    page.get_by_text("two 2.0: hello").wait_for()
    assert second.get_by_role("link").count() == 0, "its attention is not shown"


def test_a_text_stays_a_text(page: Any) -> None:
    hostile = "<img src=x onerror=document.title='bad'><script>document.title='bad'</script>"
    page.get_by_role("textbox").fill(hostile)
    page.get_by_text(f"one 5.0: {hostile}").wait_for()
    assert page.locator(".lines img, .lines script").count() == 0
    assert page.title() == "Translate"


def test_a_refusal_is_told(page: Any, client: Client) -> None:
    page.get_by_role("textbox").fill("x" * 201)
    page.get_by_text("line 1 has 201 characters: it may have 200").wait_for()
    page.get_by_role("textbox").fill("")
    page.get_by_role("textbox").fill("short")
    page.get_by_text("one 5.0: short").wait_for()


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1000)])
def test_a_picture_is_kept(page: Any, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_role("textbox").fill("The old man sees a dog.\nA bird sings.")
    page.get_by_label("Translations", exact=True).fill("3")
    page.get_by_label("Translations", exact=True).blur()
    page.get_by_text("one 5.2: A bird sings.").wait_for()
    page.get_by_role("button", name="Compare with another model or beam").click()
    page.get_by_text("two 5.0: A bird sings.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    keep_picture(page, f"serve-{scheme}-{width}")
