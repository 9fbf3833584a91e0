"""Texts that try to break out of a page, and views that hold them everywhere."""

from typing import Any

HOSTILE = (
    "<script>window.broken = 1</script>",
    "</script><script>window.broken = 2</script>",
    "</SCRIPT ><img src=x onerror='window.broken = 3'>",
    '"\' onmouseover="window.broken = 4" <!-- <script>',
    "&lt;b&gt; &amp; ]]> --> <svg/onload=window.broken=5>",
    "a\u202eb\u2066c\u200bd\u00ade\ufefff",
    "\u2028\u2029\x00\x1b[31m",
    "$script ${data} $$",
)
#: The sign of the sixth text that turns what follows it, as the page names it.
NAMED = "[U+202E]"


def hostile_views(past: str = "memory") -> dict[str, Any]:
    """Views of two sentences whose every text is hostile, with two layers of two heads."""
    words = list(HOSTILE)
    size = len(words) + 1
    own, before = (0, 2) if past == "memory" else (1, 0)

    def rows(widths: list[int]) -> list[list[list[int]]]:
        return [
            [[1000 * (place == head) for place in range(width)] for head in range(2)]
            for width in widths
        ]

    def layer() -> dict[str, Any]:
        told: dict[str, Any] = {
            "source": rows([size] * size),
            "past": rows([t + own + before for t in range(size)]),
        }
        if past == "segments":
            told["in_view"] = [[min(1, t // 4), max(0, t - 4)] for t in range(size)]
            told["spans"] = [[[0, 2]] * min(1, t // 4) for t in range(size)]
        return told

    translations = [
        {
            "text": text, "score": -0.5, "gap": 0.25, "subwords": words, "scores": [-0.5] * size,
            "carried": 2, "read": [None, words[0], None, *words], "layers": [layer(), layer()],
            "mixtures": [[[500, 250, 250]]] if past == "memory" else [],
        }
        for text in HOSTILE[:3]
    ]  # fmt: skip
    sentences = [
        {"text": text, "subwords": words, "translations": translations} for text in HOSTILE
    ]
    return {
        "model": HOSTILE[0], "decoder": HOSTILE[1],
        "past": past, "compressed": past == "segments", "layers": 2,
        "source_lang": '"><script>', "target_lang": "ar",
        "routed": False, "sentences": sentences,
    }  # fmt: skip
