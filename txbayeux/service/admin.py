"""The pages of the service itself: the chat page, ``/health`` and ``/metrics``."""

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
    "MEANINGS",
    "ChatPage",
    "Health",
    "Metrics",
    "static_files",
]

_METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

MEANINGS: Final = {
    "sessions": "Open sessions",
    "subscriptions": "Subscriptions of open sessions",
    "held": "Held connects",
    "streams": "Sessions that receive messages on a WebSocket or EventSource",
    "queued_messages": "Messages in the queues of sessions",
    "queued_bytes": "Bytes in the queues of sessions",
    "backlog_bytes": "Bytes that wait for all sessions, each message counted once",
    "published_total": "Messages accepted and dispatched to sessions",
    "delivered_total": "Messages delivered to connections, one for each session",
    "expired_total": "Sessions expired without a connect",
    "overflowed_total": "Sessions closed because their queue was full, or because "
    "they acknowledged nothing",
    "refused_total": "Sessions refused at the limit of sessions",
    "refused_publishes_total": "Publishes refused at a request's limit of deliveries",
    "limited_connections_total": "Connections refused at the limit of an address",
    "limited_sessions_total": "Handshakes refused at an address's limit of sessions",
    "limited_handshakes_total": "Handshakes refused above the rate of an address",
    "limited_requests_total": "Requests refused above the rate of an address",
    "limited_received_total": "Requests refused above an address's bytes a second",
    "limited_publishes_total": "Publishes refused above the rate of an address",
    "limited_deliveries_total": "Publishes refused above an address's deliveries",
    "limited_session_publishes_total": "Publishes refused above the rate of a session",
    "limited_session_published_total": "Publishes refused above a session's bytes",
    "limited_session_messages_total": "Messages refused above the rate of a session",
    "pending": "Redis commands without a reply",
    "pending_refused_total": "Operations refused because too many waited for Redis",
    "gaps_total": "Sessions told to handshake again after a gap in the log",
    "epochs_total": "Times that Redis had lost or replaced the log",
    "foreign_total": "Entries in Redis that were skipped: broken, or made by others",
}
"""What an engine's statistics mean; documented in docs/reference/service.md."""

_HOST: Final = re.compile(rb"[A-Za-z0-9.-]{1,255}\Z")


def _static() -> Path:
    """Return the folder of the package's static files."""
    with as_file(files("txbayeux") / "static") as folder:
        return folder


class ChatPage(Data):
    """``/``: a chat between browser tabs, on Faye's client."""

    def __init__(self, mount: str) -> None:
        page = (_static() / "index.html").read_text("utf-8")
        html = page.replace("{{mount}}", escape(mount, quote=True))
        super().__init__(html.encode(), "text/html; charset=utf-8")

    def render_GET(self, request: Request) -> bytes:
        """Return the page."""
        request.setHeader(b"Content-Security-Policy", _policy(request))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        body: bytes = super().render_GET(request)
        return body


def _policy(request: Request) -> bytes:
    """Return the policy: connections to this host only, on any port."""
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
    """Return ``/static``: the files of the chat page."""
    return _folder(_static())


def _folder(path: Path) -> Resource:
    folder = Resource()
    for entry in path.iterdir():
        kind = mimetypes.guess_type(entry.name)[0] or "text/plain"
        child = _folder(entry) if entry.is_dir() else Data(entry.read_bytes(), kind)
        folder.putChild(entry.name.encode(), child)
    return folder


class Health(Resource):
    """``/health``: 200 while publishes are accepted, else 503."""

    isLeaf = True

    def __init__(self, ready: Callable[[], bool]) -> None:
        super().__init__()
        self._ready = ready

    def render_GET(self, request: Request) -> bytes:
        """Return ``{"status":"ok"}`` or ``{"status":"unavailable"}``."""
        ready = self._ready()
        if not ready:
            request.setResponseCode(SERVICE_UNAVAILABLE)
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        return encode({"status": "ok" if ready else "unavailable"})


class Metrics(Resource):
    """``/metrics``: an engine's statistics in Prometheus' text format."""

    isLeaf = True

    def __init__(self, statistics: Callable[[], Mapping[str, int]]) -> None:
        super().__init__()
        self._statistics = statistics

    def render_GET(self, request: Request) -> bytes:
        """Return ``txbayeux_NAME VALUE`` lines; totals are counters."""
        request.setHeader(b"Content-Type", _METRICS_TYPE)
        lines = []
        for name, value in sorted(self._statistics().items()):
            if name in MEANINGS:
                lines.append(f"# HELP txbayeux_{name} {MEANINGS[name]}\n")
            kind = "counter" if name.endswith("_total") else "gauge"
            lines.append(f"# TYPE txbayeux_{name} {kind}\ntxbayeux_{name} {value}\n")
        return "".join(lines).encode()
