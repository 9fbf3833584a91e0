"""The page in a real browser: what is seen, chosen, spoken; and what a hostile text does there.

Needs Playwright's package (`requirements/browser.txt`) and a Chromium of the system's.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairseq_memtx.explain.page import html_of
from fairseq_memtx.explain.views import explained
from fairseq_memtx.translator import SearchSettings, Translator
from tests.browser import CHROMIUM, keep_picture
from tests.fairseq_memtx.explain.hostile import HOSTILE, NAMED, hostile_views

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (requirements/browser.txt)"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

Open = Callable[..., Any]
WIDE, PHONE = 1000, 360


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # As root Chromium starts without its sandbox alone; the page is a file of this test.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open views in a page; whatever it loads or complains of fails the test at the end."""
    wrong: list[str] = []
    contexts = []

    def open_views(views: dict[str, Any], scheme: str = "light", width: int = WIDE) -> Any:
        file = tmp_path / "page.html"
        file.write_text(html_of(views), encoding="utf-8")
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        assert asked == [file.as_uri()]
        return page

    yield open_views
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def views(tiny_checkpoints: dict[str, Path]) -> dict[str, Any]:
    """Of a small Feedback model."""
    search = SearchSettings(nbest=2, max_len_a=0, max_len_b=12)
    translator = Translator.from_pretrained(tiny_checkpoints["feedback"], search=search)
    return explained(translator, ["the old man sees a dog .", "a bird sings ."], "tiny.pt")


def shares(rows: list[list[int]], head: int | None) -> list[float]:
    """Probabilities in thousandths, of one head or their mean, in percent."""
    chosen = rows if head is None else [rows[head]]
    means = [sum(values) / len(values) for values in zip(*chosen, strict=True)]
    return [mean / 10 for mean in means]


def numbers(texts: list[str]) -> list[float]:
    """The percentages at their ends."""
    return [float(re.findall(r"([\d.]+)\s%$", text)[0]) for text in texts]


def test_what_is_chosen_is_shown(opened: Open, views: dict[str, Any]) -> None:
    page = opened(views)
    one = views["sentences"][0]["translations"][1]
    page.locator("#nbest input").nth(1).check()
    page.locator("#layer").select_option(index=0)
    for head in (None, 1):
        page.locator("#head").select_option(index=0 if head is None else head + 1)
        for position in (0, 3):
            page.locator("#subwords button").nth(position).click()
            panels = page.locator("#panels > div")
            for number, part in enumerate(("source", "past")):
                rows = one["layers"][0][part][position]
                texts = panels.nth(number).locator(".chip").all_inner_texts()
                assert numbers(texts) == pytest.approx(shares(rows, head), abs=0.0501)
    names = (
        page.locator("#nbest")
        .get_by_role("radio")
        .evaluate_all("all => all.map(one => one.labels[0].textContent)")
    )
    for name, told in zip(names, views["sentences"][0]["translations"], strict=True):
        assert name == f"{told['score']:.3f}{told['text']}"
    assert "no memory yet" not in page.locator("#panels").inner_text()
    page.locator("#subwords button").first.click()
    assert "no memory yet" in page.locator("#panels").inner_text()
    page.locator("#sentence").select_option(index=1)
    assert page.locator("#source").inner_text() == views["sentences"][1]["text"]


def test_all_positions_at_once(opened: Open, views: dict[str, Any]) -> None:
    page = opened(views)
    one = views["sentences"][0]["translations"][0]
    assert page.locator("#grids table").count() == 0, "made only when it is looked at"
    page.locator("#all summary").focus()
    page.keyboard.press("Enter")
    page.locator("#grids table").nth(1).wait_for()
    for number, part in enumerate(("source", "past")):
        rows = page.locator("#grids table").nth(number).locator("tbody tr")
        assert rows.count() == len(one["scores"])
        for place in (0, 1, 5):
            cells = rows.nth(place).locator("td").all_inner_texts()
            found = [int(cell) for cell in cells if cell]
            assert found == pytest.approx(shares(one["layers"][1][part][place], None), abs=0.501)
            assert all(cells[: len(found)]), "from the first column on"
    page.locator("#grids tbody tr").nth(4).click()
    assert page.get_by_role("status").inner_text().startswith("Position 5 of ")
    page.locator("#subwords button").nth(2).click()
    chosen = page.locator("#grids tr[aria-current]")
    assert chosen.count() == 2
    assert chosen.evaluate_all("rows => rows.map(row => row.sectionRowIndex)") == [2, 2]
    page.locator("#head").select_option(index=2)
    cells = page.locator("#grids tbody tr").nth(1).locator("td").all_inner_texts()
    want = shares(one["layers"][1]["source"][1], 1)
    assert list(map(int, cells)) == pytest.approx(want, abs=0.501)


def test_the_mixture_of_each_position_and_channel(opened: Open) -> None:
    views = {**hostile_views(), "routed": True}
    one = views["sentences"][0]["translations"][0]
    own = [[[1000 - 100 * t, 100 * t, 0], [0, 1000, 0]] for t in range(9)]
    views["sentences"][0]["translations"][0] = {**one, "mixtures": own}
    page = opened(views)
    for position in (0, 3):
        page.locator("#subwords button").nth(position).click()
        texts = page.locator("#shares .chip").all_inner_texts()
        assert numbers(texts) == [100 - 10 * position, 10 * position, 0, 0, 100, 0]
        assert [text.split("\n")[0] for text in texts[:2]] == ["embedding", "layer 1"]
    assert "Channel 2" in page.locator("#shares").inner_text()
    page.locator("#nbest input").nth(1).check()
    assert numbers(page.locator("#shares .chip").all_inner_texts()) == [50, 25, 25]


def test_the_keyboard_moves_and_the_choice_is_spoken(opened: Open, views: dict[str, Any]) -> None:
    page = opened(views)
    count = len(views["sentences"][0]["translations"][0]["scores"])
    status, subwords = page.get_by_role("status"), page.locator("#subwords")
    assert status.get_attribute("aria-live") == "polite"
    assert subwords.get_by_role("radio").count() == count
    subwords.get_by_role("radio").first.focus()
    for key, place in (("ArrowRight", 2), ("ArrowDown", 3), ("ArrowLeft", 2), ("End", count),
                       ("ArrowRight", count), ("Home", 1), ("ArrowUp", 1)):  # fmt: skip
        page.keyboard.press(key)
        chosen = subwords.locator("[aria-checked=true]")
        assert chosen.count() == 1
        assert chosen.evaluate("one => one === document.activeElement && one.tabIndex === 0")
        assert subwords.locator("[tabindex='0']").count() == 1
        assert status.inner_text().startswith(f"Position {place} of {count}: ")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"


@pytest.mark.parametrize("past", ["memory", "self", "segments"])
def test_hostile_texts_are_shown_as_they_are(opened: Open, past: str) -> None:
    page = opened(hostile_views(past))
    for number, text in enumerate(HOSTILE):
        page.locator("#sentence").select_option(index=number)
        page.keyboard.press("Tab")
        for rank in range(3):
            page.locator("#nbest input").nth(rank).check()
        for position in (0, 7, 8):
            page.locator("#subwords button").nth(position).click()
        seen = page.locator("#source").evaluate("one => one.textContent")
        if text.isprintable():
            assert seen == text
        else:
            assert "[U+" in seen
            assert not re.search("[\u202e\u2066\u200b\u2028\x1b]", seen)
    page.locator("#all summary").click()
    page.locator("#grids table").first.wait_for()
    assert page.evaluate("window.broken") is None
    assert page.locator("main script, main img, main svg").count() == 0
    assert NAMED in page.locator("#subwords").inner_text()
    assert page.locator("#mixture").is_visible() == (past == "memory")
    assert "differ by up to 0.250." in page.locator("#gap").inner_text()
    page.locator("#subwords button").first.click()
    before = page.locator("#panels .before")
    assert before.count() == (2 if past == "memory" else 0)
    if past == "memory":
        assert HOSTILE[0] in before.nth(1).inner_text()
        assert "Dashed: in the sentences before." in page.locator("#panels").inner_text()


def test_a_language_from_right_to_left(opened: Open) -> None:
    """Its subwords run that way, and the arrow that points to the next one goes there."""
    views = hostile_views()
    words = ["\u2581\u0631\u062c\u0644", "\u2581\u064a\u0631\u0643\u0628", "\u2581Mia"]
    one = views["sentences"][0]["translations"][0]
    views["sentences"][0]["translations"][0] = {
        **one, "subwords": words, "scores": [-0.1] * 4, "read": [None, *words]
    }  # fmt: skip
    page = opened(views)
    first, second = (page.locator("#subwords button").nth(n).bounding_box() for n in (0, 1))
    assert first["x"] > second["x"]
    page.locator("#subwords button").first.click()
    for key, place in (("ArrowLeft", 2), ("ArrowLeft", 3), ("ArrowRight", 2), ("ArrowDown", 3)):
        page.keyboard.press(key)
        assert page.get_by_role("status").inner_text().startswith(f"Position {place} of 4")


def luminance(colour: str) -> float:
    """WCAG's, of a colour as Chromium computes it."""
    parts = [float(part) for part in re.findall(r"[\d.]+", colour.split("srgb")[-1])[:3]]
    if "srgb" not in colour:
        parts = [part / 255 for part in parts]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_it_is_readable(opened: Open, views: dict[str, Any], scheme: str, width: int) -> None:
    """At each width without scrolling sideways, in each scheme with WCAG's contrast of 4.5."""
    page = opened(views, scheme, width)
    page.locator("#all summary").click()
    page.locator("#grids table").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (background > 0.5) == (scheme == "light")
    assert page.locator("#gap").is_hidden()
    page.locator("#subwords button").nth(2).click()
    keep_picture(page, f"explain-{scheme}-{width}")
    for chip in ("#subwords .chip", "#panels .chip"):
        for share in (0.0, 0.5, 1.0):
            colours = page.locator(chip).first.evaluate(
                "(one, share) => { one.style.setProperty('--p', share);"
                " one.classList.remove('faint'); const box = getComputedStyle(one);"
                " const text = getComputedStyle(one.querySelector('.number'));"
                " return [box.backgroundColor, text.color]; }",
                share,
            )
            low, high = sorted(map(luminance, colours))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (chip, share, colours)


def test_long_words_stay_within_a_phone(opened: Open) -> None:
    views = hostile_views()
    views["sentences"][0]["text"] = "x" * 400
    views["sentences"][0]["translations"][0]["subwords"][0] = "\u2581" + "y" * 300
    page = opened(views, width=PHONE)
    page.locator("#all summary").click()
    page.locator("#grids table").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
