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

    request_objects: int = 100_000
    """Arrays and objects in the JSON of one request; a batch's own array is one.

    They take most of the time to decode: 1 MiB of nested brackets a second, of
    numbers a tenth.  1 MiB of coordinates, ``[13.40495,52.52001]``, has 50,000.
    """

    sessions: int = 100_000
    """Sessions in one process; above it, handshakes are refused."""

    session_subscriptions: int = 1000
    """Channels and patterns that one session may subscribe to."""

    session_subscription_bytes: int = 256 * 1024
    """Bytes of their names: as many as 256 of the longest, or 1,000 of 262 each."""

    queue_messages: int = 4096
    """Messages waiting for one session; above it, the session is closed."""

    queue_bytes: int = 8 * 1024 * 1024
    """Bytes waiting for one session; above it, the session is closed."""

    queued_bytes: int = 256 * 1024 * 1024
    """Bytes waiting for all sessions of one process, as much as 32 full queues.

    A message that waits for several sessions counts once, with 200 bytes beside its
    JSON and 8 for each queue that it is in.  Above it, the sessions with the largest
    queues are closed, until the others are within it.
    """

    request_deliveries: int = 1_000_000
    """Deliveries that the messages of one request cause: to how many subscriptions.

    A process delivers about that many in a second; it is the largest batch, to 1,000
    subscribers.  Above it, the rest of the request is refused with 429.  Its first
    message is not: it is limited by the number of sessions.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{field.name} must be a positive integer: {value!r}")
