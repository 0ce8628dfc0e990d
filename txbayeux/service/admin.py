"""The pages of the service's own site: a chat to see it work, and its health."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from twisted.web.http import SERVICE_UNAVAILABLE, Request
from twisted.web.resource import Resource
from twisted.web.static import Data

from txbayeux.message import encode

__all__ = [
    "METRICS_TYPE",
    "ChatPage",
    "Health",
    "Metrics",
    "health",
    "static_files",
]

METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

_MEANINGS: Final = {
    "sessions": "Sessions that are held",
    "subscriptions": "Subscriptions of these sessions",
    "held": "Connects that wait for messages",
    "streams": "Sessions whose messages go to a WebSocket or an EventSource",
    "queued_messages": "Messages that wait, counted for each session",
    "queued_bytes": "Bytes of these messages, counted likewise",
    "published_total": "Messages that were accepted and handed out",
    "delivered_total": "Messages handed to connections, counted for each session",
    "expired_total": "Sessions that did not connect in time",
    "overflowed_total": "Sessions ended past a limit of their queue",
    "refused_total": "Handshakes refused for want of room",
    "pending": "Commands that Redis has not answered",
    "gaps_total": "Sessions told to handshake anew: the log had lost theirs",
    "epochs_total": "Times that another log than before was found in Redis",
}
"""What the numbers of the engines are; see docs/reference/service.md."""

_HOST: Final = re.compile(rb"[A-Za-z0-9.-]{1,255}\Z")


def _static() -> Path:
    """Give the folder of the package's own files."""
    with as_file(files("txbayeux") / "static") as folder:
        return folder


class ChatPage(Data):
    """``/``: a chat between browser tabs, through Faye's client."""

    def __init__(self, mount: str) -> None:
        page = (_static() / "index.html").read_text("utf-8")
        html = page.replace("{{mount}}", escape(mount, quote=True))
        super().__init__(html.encode(), "text/html; charset=utf-8")

    def render_GET(self, request: Request) -> bytes:
        """Answer with the page."""
        request.setHeader(b"Content-Security-Policy", _policy(request))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        body: bytes = super().render_GET(request)
        return body


def _policy(request: Request) -> bytes:
    """Let the page reach this host only, on any port for its cross-origin show."""
    host = request.getRequestHostname()
    ours = b"'self'"
    if _HOST.match(host):
        ours += b" " + b" ".join(
            b"%s://%s:*" % (scheme, host)
            for scheme in (b"http", b"https", b"ws", b"wss")
        )
    return b"default-src 'self'; connect-src %s; script-src %s; base-uri 'none'" % (
        ours,
        ours,
    )


def static_files() -> Resource:
    """Give ``/static``: the page's files, by their names, and nothing else."""
    return _folder(_static())


def _folder(path: Path) -> Resource:
    folder = Resource()
    for entry in path.iterdir():
        kind = mimetypes.guess_type(entry.name)[0] or "text/plain"
        child = _folder(entry) if entry.is_dir() else Data(entry.read_bytes(), kind)
        folder.putChild(entry.name.encode(), child)
    return folder


class Health(Resource):
    """``/health``: 200 when publishes would be accepted, else 503."""

    isLeaf = True

    def __init__(self, ready: Callable[[], bool]) -> None:
        super().__init__()
        self._ready = ready

    def render_GET(self, request: Request) -> bytes:
        """Answer ``{"status":"ok"}`` or ``{"status":"unavailable"}``."""
        return health(request, well=self._ready())


def health(request: Request, *, well: bool, **more: int) -> bytes:
    """Prepare the answer of a ``/health``; ``more`` is told along with the status."""
    if not well:
        request.setResponseCode(SERVICE_UNAVAILABLE)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    return encode({"status": "ok" if well else "unavailable", **more})


class Metrics(Resource):
    """``/metrics``: what there is and what was done, in Prometheus' text format."""

    isLeaf = True

    def __init__(self, statistics: Callable[[], Mapping[str, int]]) -> None:
        super().__init__()
        self._statistics = statistics

    def render_GET(self, request: Request) -> bytes:
        """Answer with ``txbayeux_NAME VALUE`` lines; totals are counters."""
        request.setHeader(b"Content-Type", METRICS_TYPE)
        lines = []
        for name, value in sorted(self._statistics().items()):
            if name in _MEANINGS:
                lines.append(f"# HELP txbayeux_{name} {_MEANINGS[name]}\n")
            kind = "counter" if name.endswith("_total") else "gauge"
            lines.append(f"# TYPE txbayeux_{name} {kind}\ntxbayeux_{name} {value}\n")
        return "".join(lines).encode()
