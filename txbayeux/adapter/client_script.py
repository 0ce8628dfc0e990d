"""``<mount>/client.js``: the browser's client, from where Faye's server has it."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from twisted.web.http import CACHED
from twisted.web.server import Request

__all__ = ["ClientScript", "faye_client"]

_CACHE: Final = b"public, max-age=3600"  # seconds


def faye_client() -> Path:
    """Return the path of Faye's browser client, which the package carries."""
    script = files("txbayeux") / "static" / "vendor" / "faye-browser-min.js"
    with as_file(script) as path:
        return path


class ClientScript:
    """A JavaScript file, read once."""

    def __init__(self, path: Path) -> None:
        self._text = path.read_bytes()
        self._tag = b'"%s"' % sha256(self._text).hexdigest()[:32].encode("ascii")

    def render(self, request: Request) -> bytes:
        """Answer a GET or a HEAD."""
        request.setHeader(b"Content-Type", b"text/javascript; charset=utf-8")
        request.setHeader(b"Cache-Control", _CACHE)
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        if request.setETag(self._tag) == CACHED:
            return b""
        if request.method == b"HEAD":
            request.setHeader(b"Content-Length", b"%d" % len(self._text))
            return b""
        return self._text
