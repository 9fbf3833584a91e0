"""The page of a server: one file, which asks the server it comes from and nobody else."""

from importlib import resources
from string import Template

from ..explain.page import hash_of_inline


class Page:
    """The page and the headers that it is sent with.

    Attributes:
        html: the page.
        headers: a policy by which a browser runs this very script and asks this server alone.
    """

    def __init__(self) -> None:
        script, style = _file("page.js"), _file("page.css")
        self.html = Template(_file("page.html")).substitute(script=script, style=style)
        policy = [
            "default-src 'none'",
            f"script-src '{hash_of_inline(script)}'",
            f"style-src '{hash_of_inline(style)}'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
        self.headers = {
            "content-security-policy": "; ".join(policy),
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
