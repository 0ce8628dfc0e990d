"""The bounds of the service: every resource that a client can use has one."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request, one session, and all sessions together may use.

    All are on by default; each must be a positive integer.

    :raises ValueError: on construction, for a bound that is not positive.
    """

    request_bytes: int = 1024 * 1024
    """Body of an HTTP request, or a WebSocket message *after* decompression."""

    batch_messages: int = 1000
    """Bayeux messages in one request."""

    sessions: int = 100_000
    """Sessions that one process holds; past it handshakes are refused."""

    session_subscriptions: int = 1000
    """Channels and patterns that one session is subscribed to."""

    queue_messages: int = 4096
    """Messages that wait for one session; past it the session is closed."""

    queue_bytes: int = 8 * 1024 * 1024
    """Bytes that wait for one session; past it the session is closed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{field.name} must be a positive integer: {value!r}")
