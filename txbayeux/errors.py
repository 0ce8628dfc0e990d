"""Bayeux errors: the ``error`` field of replies.

Source: Bayeux specification, "error": ``code ":" args ":" text``, where args
and text are letters, digits and a few marks.  Faye's client cannot parse anything
else, so an argument with other characters is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "BayeuxError",
    "CallError",
    "TooManyDeliveries",
    "TooManySessions",
    "TooManySubscriptions",
    "UnknownSession",
    "bad_request",
    "channel_forbidden",
    "channel_invalid",
    "connection_types_mismatch",
    "missing_parameter",
    "server_error",
    "session_required",
    "too_many",
    "unavailable",
    "version_mismatch",
    "wrong_parameter",
]

_MAX_ARGUMENT: Final = 128
_ARGUMENT = re.compile(r"[A-Za-z0-9\-_!~()$@ /*.]*\Z")
_ERROR = re.compile(r"([0-9]{3}):([^:]*):(.*)\Z", re.DOTALL)


class BayeuxError(Exception):
    """A refusal, as the protocol expresses it.

    ``code`` has three digits, ``arguments`` are what was refused, ``text`` is the
    reason.  ``str(error)`` is the wire form: ``403:/secret:Forbidden channel``.
    """

    def __init__(self, code: int, arguments: tuple[str, ...], text: str) -> None:
        super().__init__(code, arguments, text)
        self.code = code
        self.arguments = arguments
        self.text = text
        self.reply: Mapping[str, Any] | None = None
        """The server's whole reply, with ``ext`` and ``advice``; None without one."""

    def __str__(self) -> str:
        plain = ",".join(
            argument
            for argument in self.arguments
            if len(argument) <= _MAX_ARGUMENT and _ARGUMENT.match(argument)
        )
        return f"{self.code}:{plain}:{self.text}"

    @classmethod
    def parse(cls, error: object) -> BayeuxError:
        """Parse a reply's ``error``; what is invalid becomes the text of a 500."""
        match = _ERROR.match(error) if isinstance(error, str) else None
        if match is None:
            return cls(500, (), error if isinstance(error, str) else "Unknown error")
        code, arguments, text = match.groups()
        return cls(int(code), tuple(arguments.split(",")) if arguments else (), text)

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any]) -> BayeuxError:
        """Return what an unsuccessful reply says."""
        error = cls.parse(reply.get("error"))
        error.reply = reply
        return error


class UnknownSession(BayeuxError):
    """The session does not exist, or has ended; the client has to handshake again."""

    def __init__(self, session_id: str, text: str = "Unknown client") -> None:
        super().__init__(402, (session_id,), text)


class TooManyDeliveries(BayeuxError):
    """The messages would reach more sessions than one request, or one peer, may."""

    def __init__(self) -> None:
        super().__init__(429, (), "Too many deliveries")


class TooManySessions(BayeuxError):
    """The limit of sessions is reached; none was created."""

    def __init__(self) -> None:
        super().__init__(503, (), "Too many sessions")


class TooManySubscriptions(BayeuxError):
    """The session would exceed its limit of subscriptions; nothing was changed."""

    def __init__(self, limit: int, of: str = "subscriptions") -> None:
        super().__init__(403, (), f"More than {limit} {of}")


class CallError(Exception):
    """Raised by a function to answer a call with a failure.

    ``data``, anything that JSON can represent, is what the client gets.
    """

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.data = data


def version_mismatch(version: str) -> BayeuxError:
    """Return the refusal of a handshake for a protocol version that is not 1.x."""
    return BayeuxError(300, (version,), "Version mismatch")


def connection_types_mismatch(types: tuple[str, ...]) -> BayeuxError:
    """Return the refusal of connection types of which the server supports none."""
    return BayeuxError(301, types[:8], "Connection types not supported")


def bad_request(text: str) -> BayeuxError:
    """Return the refusal of what is no Bayeux message."""
    return BayeuxError(400, (), text)


def missing_parameter(name: str) -> BayeuxError:
    """Return the refusal of a message without a field that it must contain."""
    return BayeuxError(400, (name,), "Missing required parameter")


def wrong_parameter(name: str) -> BayeuxError:
    """Return the refusal of a field of the wrong type or out of its range."""
    return BayeuxError(400, (name,), "Invalid parameter")


def session_required() -> BayeuxError:
    """Return the refusal of a message that must name a session and does not."""
    return BayeuxError(401, (), "No client ID")


def channel_forbidden(channel: str) -> BayeuxError:
    """Return the refusal of a channel that clients may not use like this."""
    return BayeuxError(403, (channel,), "Forbidden channel")


def channel_invalid(channel: str) -> BayeuxError:
    """Return the refusal of an invalid channel name or pattern."""
    return BayeuxError(405, (channel,), "Invalid channel")


def too_many(what: str) -> BayeuxError:
    """Return the refusal of what comes more often than its client may send it.

    Source: HTTP's status 429, RFC 6585, section 4.
    """
    return BayeuxError(429, (), f"Too many {what}")


def server_error() -> BayeuxError:
    """Return the error for a failure of the server, whose log has the reason."""
    return BayeuxError(500, (), "Internal server error")


def unavailable() -> BayeuxError:
    """Return the error for an engine that is stopped or cannot reach its storage."""
    return BayeuxError(503, (), "Service temporarily unavailable")
