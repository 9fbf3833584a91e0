"""One HTML file that shows `views`: no network, no server, and nothing that a text could inject.

Texts travel as JSON of ASCII in which no `<`, `>` or `&` is left, and the page's script shows them
as text alone. The file's own policy (CSP) lets this very script and style run, by their hashes, and
loads nothing.
"""

import base64
import hashlib
import json
from importlib import resources
from string import Template
from typing import Any

#: What could end or begin an element, as JSON spells it otherwise.
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def html_of(views: dict[str, Any]) -> str:
    """The page of views as `views.explained` makes them."""
    script, style = _file("page.js"), _file("page.css")
    return Template(_file("page.html")).substitute(
        script=script,
        style=style,
        script_hash=hash_of_inline(script),
        style_hash=hash_of_inline(style),
        data=as_data(views),
    )


def as_data(content: Any) -> str:
    """JSON that is inert wherever it stands in a page: ASCII without `<`, `>` and `&`."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def hash_of_inline(text: str) -> str:
    """By which a policy (CSP) names a script or a style that stands in an element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
