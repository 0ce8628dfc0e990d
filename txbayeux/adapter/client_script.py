"""``<mount>/client.js``: the browser client, at the same path as on Faye's server."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from txbayeux.adapter.request import HTTPRequest
from txbayeux.adapter.response import Header, ResponseHead, ResponseWriter

__all__ = ["ClientScript", "faye_client"]

_MAX_AGE: Final = b"public, max-age=3600"  # seconds


def faye_client() -> Path:
    """Return the path of Faye's browser client, which the package carries."""
    script = files("txbayeux") / "static" / "vendor" / "faye-browser-min.js"
    with as_file(script) as path:
        return path


class ClientScript:
    """A JavaScript file, read once."""

    def __init__(self, path: Path) -> None:
        self._text = path.read_bytes()
        digest = sha256(self._text).hexdigest()[:32]
        self._tag = f'"{digest}"'
        headers: tuple[Header, ...] = (
            (b"Content-Type", b"text/javascript; charset=utf-8"),
            (b"Cache-Control", _MAX_AGE),
            (b"ETag", self._tag.encode("ascii")),
            (b"X-Content-Type-Options", b"nosniff"),
        )
        self._found = ResponseHead(200, headers)
        self._unchanged = ResponseHead(304, headers)

    def serve(self, request: HTTPRequest, writer: ResponseWriter) -> None:
        """Answer a GET or a HEAD."""
        known = request.headers.get("if-none-match") or ""
        if {"*", self._tag}.isdisjoint(known.replace(",", " ").split()):
            writer.respond(self._found, self._text)
        else:
            writer.respond(self._unchanged, b"")
