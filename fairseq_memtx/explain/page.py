"""One HTML file that shows `views`: no network, no server, and nothing that a text could inject.

Texts travel as JSON of ASCII in which no `<`, `>` or `&` is left, and the page's script shows them
as text alone. The file's own policy (CSP) lets this very script and style run, by their hashes, and
loads nothing.
"""

import json
from string import Template
from typing import Any

from ..ground.html import hash_of_inline, part_of_page

#: What could end or begin an element, as JSON spells it otherwise.
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def html_of(views: dict[str, Any]) -> str:
    """The page of views as `views.explained` makes them."""
    script, style = part_of_page(__package__, "page.js"), part_of_page(__package__, "page.css")
    return Template(part_of_page(__package__, "page.html")).substitute(
        script=script,
        style=style,
        script_hash=hash_of_inline(script),
        style_hash=hash_of_inline(style),
        data=as_data(views),
    )


def as_data(content: Any) -> str:
    """JSON that is inert wherever it stands in a page: ASCII without `<`, `>` and `&`."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)
