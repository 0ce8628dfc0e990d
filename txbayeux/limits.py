"""The limits of a server: one for each resource that clients can use up."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one request, of one session, and of all sessions together.

    The engine enforces those of sessions and queues, the adapter those of requests.

    :raises ValueError: on construction, for a value that is not a positive integer.
    """

    request_bytes: int = 1024 * 1024
    """Bytes of an HTTP request body, or of a WebSocket message after decompression."""

    batch_messages: int = 1000
    """Bayeux messages in one request."""

    sessions: int = 100_000
    """Sessions in one process; above it, handshakes are refused."""

    session_subscriptions: int = 1000
    """Channels and patterns that one session may subscribe to."""

    queue_messages: int = 4096
    """Messages waiting for one session; above it, the session is closed."""

    queue_bytes: int = 8 * 1024 * 1024
    """Bytes waiting for one session; above it, the session is closed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{field.name} must be a positive integer: {value!r}")
