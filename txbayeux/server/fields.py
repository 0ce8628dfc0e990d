"""Read the fields of a request's message, which may be of any type."""

from __future__ import annotations

from typing import Any, Final

from txbayeux import channel as channels
from txbayeux.errors import (
    channel_forbidden,
    channel_invalid,
    missing_parameter,
    session_required,
    wrong_parameter,
)
from txbayeux.message import Message

__all__ = [
    "MAX_ID_LENGTH",
    "connect_timeout",
    "extension_field",
    "message_id",
    "session_id",
    "subscription",
]

MAX_ID_LENGTH: Final = 256
"""Longest message id that replies and subscribers get, in characters."""


def session_id(message: Message) -> str:
    """Return ``clientId``, which the message must contain.

    :raises BayeuxError: 401 if it is missing, 400 if it is not a string.
    """
    value = message.get("clientId")
    if value is None or value == "":
        raise session_required()
    if not isinstance(value, str):
        raise wrong_parameter("clientId")
    return value


def message_id(message: Message) -> str | int | None:
    """Return ``id``; None if it is too long, or neither a string nor an integer."""
    value = message.get("id")
    if isinstance(value, str) and len(value) <= MAX_ID_LENGTH:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    return None


def subscription(message: Message, grammar: channels.Grammar) -> list[str]:
    """Return the channel names and patterns of ``subscription``, one or a list.

    Service channels are left out: they are not recorded (Bayeux specification,
    "Service Channels").

    :raises BayeuxError: 400 if it is missing or of a wrong type, 405 for what is
        neither a name nor a pattern, 403 for ``/meta``.
    """
    value = message.get("subscription")
    if value is None or value == []:
        raise missing_parameter("subscription")
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str):
            raise wrong_parameter("subscription")
        if not (grammar.is_name(name) or grammar.is_pattern(name)):
            raise channel_invalid(name)
        if channels.is_reserved(name):
            raise channel_forbidden(name)
    return [name for name in names if not channels.is_service(name)]


def connect_timeout(message: Message, longest: float) -> float:
    """Return how long to hold a connect, in seconds, from ``advice.timeout``.

    :param longest: what to return if the client advises more, or nothing valid.
    """
    advice = message.get("advice")
    timeout: Any = advice.get("timeout") if isinstance(advice, dict) else None
    if timeout is None or type(timeout) not in (int, float) or timeout < 0:
        return longest
    # Compared before it is divided: an integer may be larger than any float.
    return timeout / 1000 if timeout < longest * 1000 else longest


def extension_field(message: Message, name: str) -> Any:
    """Return ``ext[name]``, or None."""
    ext = message.get("ext")
    return ext.get(name) if isinstance(ext, dict) else None
