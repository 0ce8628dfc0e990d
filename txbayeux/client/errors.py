"""Errors of publishes and subscriptions that do not come from the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txbayeux.errors import BayeuxError

__all__ = [
    "BufferOverflow",
    "Closed",
    "OutboxFull",
    "PublishTimeout",
    "RetriesExhausted",
    "reply_error",
]


class Closed(BayeuxError):
    """The client was disconnected before the server answered."""

    def __init__(self, channel: str) -> None:
        super().__init__(410, (channel,), "The client was disconnected")


class PublishTimeout(BayeuxError):
    """There was no answer before the deadline, or to any of the allowed attempts.

    The server may have accepted the message all the same.  ``__cause__`` is the
    last failure, if there was one.
    """

    def __init__(self, channel: str, why: str) -> None:
        super().__init__(408, (channel,), why)


class OutboxFull(BayeuxError):
    """Too many messages are waiting for an answer."""

    def __init__(self, channel: str) -> None:
        super().__init__(507, (channel,), "Too many messages are waiting")


class BufferOverflow(BayeuxError):
    """Messages arrived faster than a subscription's iterator was read."""

    def __init__(self, channel: str) -> None:
        super().__init__(
            507, (channel,), "Messages were dropped because they were not read"
        )


class RetriesExhausted(BayeuxError):
    """As many attempts failed in a row as :class:`Retry` allows.

    ``__cause__`` is the last failure.  If it was a refusal, ``code``, ``arguments`` and
    ``reply`` are those of the refusal; otherwise ``code`` is 503.
    """

    def __init__(self, attempts: int, cause: Exception) -> None:
        last = cause
        if not isinstance(last, BayeuxError):
            last = BayeuxError(503, (), str(cause))
        super().__init__(
            last.code, last.arguments, f"{last.text} (attempts: {attempts})"
        )
        self.reply = last.reply
        self.__cause__ = cause


def reply_error(
    code: int, text: str, reply: Mapping[str, Any], *arguments: str
) -> BayeuxError:
    """Return an error for a reply that does not name one itself."""
    error = BayeuxError(code, arguments, text)
    error.reply = reply
    return error
