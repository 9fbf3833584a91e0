"""The page of a server: one file, which asks the server it comes from and nobody else."""

from string import Template

from ..ground.html import hash_of_inline, part_of_page


class Page:
    """The page and the headers that it is sent with.

    Attributes:
        html: the page.
        headers: a policy by which a browser runs this very script and asks this server alone.
    """

    def __init__(self) -> None:
        script, style = part_of_page(__package__, "page.js"), part_of_page(__package__, "page.css")
        self.html = Template(part_of_page(__package__, "page.html")).substitute(
            script=script, style=style
        )
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
