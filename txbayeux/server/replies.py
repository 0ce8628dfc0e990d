"""Build replies, and the advice in them."""

from __future__ import annotations

import re
from typing import Any, Final

from txbayeux import channel as channels
from txbayeux.errors import BayeuxError, TooManyDeliveries
from txbayeux.message import Message
from txbayeux.server.fields import message_id
from txbayeux.server.options import CONNECTION_TYPES, VERSION, ServerOptions

__all__ = ["default_advice", "refusal", "refuse", "reply", "supported"]

_UNAVAILABLE_INTERVAL: Final = 5000
"""Advised interval, in milliseconds, after an error of the server or above a rate."""

_MAX_SESSION_ID: Final = 256


def reply(message: Message) -> Message:
    """Return a successful reply with the request's channel, id and clientId."""
    answer: Message = {"channel": message["channel"], "successful": True}
    identity = message_id(message)
    if identity is not None:
        answer["id"] = identity
    session_id = message.get("clientId")
    if isinstance(session_id, str) and len(session_id) <= _MAX_SESSION_ID:
        answer["clientId"] = session_id
    return answer


def default_advice(options: ServerOptions) -> Message:
    """Return the advice of a successful reply to a handshake or a connect."""
    return {
        "reconnect": "retry",
        "interval": round(options.interval * 1000),
        "timeout": round(options.timeout * 1000),
    }


def supported() -> Message:
    """Return the handshake fields that say which versions and transports we support.

    Also part of a refusal, so that a client can adapt.
    """
    return {
        "version": VERSION,
        "minimumVersion": VERSION,
        "supportedConnectionTypes": list(CONNECTION_TYPES),
    }


def refusal(message: Any, error: BayeuxError | str, advice: object = None) -> Message:
    """Return a refusal of a message: its channel and id if valid, error and advice.

    :param message: any JSON value.
    :param error: a string if it is an extension's.
    :param advice: an extension's advice; by default it follows from ``error``.
    """
    answer: Message = {"successful": False, "error": str(error)}
    if not isinstance(message, dict):
        return answer
    channel = message.get("channel")
    if isinstance(channel, str) and len(channel) <= channels.MAX_LENGTH:
        answer["channel"] = channel
    identity = message_id(message)
    if identity is not None:
        answer["id"] = identity
    if channel == channels.HANDSHAKE:
        answer |= supported()
    if channel in (channels.SUBSCRIBE, channels.UNSUBSCRIBE):
        answer["subscription"] = message.get("subscription", [])
    given = advice if isinstance(advice, dict) else _advice_for(channel, error)
    if given is not None:
        answer["advice"] = given
    return answer


def refuse(answer: Message, advice: object) -> None:
    """Make a refusal of a reply in which an outgoing extension has set ``error``.

    :param advice: the reply's advice before the extension; if it is still the same
        it is replaced.
    """
    channel = answer.get("channel")
    answer["successful"] = False
    if answer.get("advice") == advice:
        given = _advice_for(channel, str(answer["error"]))
        answer.pop("advice", None)
        if given is not None:
            answer["advice"] = given
    if channel == channels.HANDSHAKE:
        answer.pop("clientId", None)


def _advice_for(channel: object, error: BayeuxError | str) -> Message | None:
    """Return the advice for a refusal, or None.

    A session that is unknown (402), or a connect that names none, needs a handshake,
    as on Faye's server.  After an error of the server (5xx), or above a rate (429), a
    handshake or connect is to be repeated, later.  Any other would be refused again, so
    the client is to stop.  One whose messages reach too many is to come back later.
    """
    code = error.code if isinstance(error, BayeuxError) else _code(error)
    if code == 402 or (channel == channels.CONNECT and _names_no_session(error)):
        return {"reconnect": "handshake", "interval": 0}
    if isinstance(error, TooManyDeliveries):
        return {"reconnect": "retry", "interval": _UNAVAILABLE_INTERVAL}
    if channel not in (channels.HANDSHAKE, channels.CONNECT):
        return None
    if code < 500 and code != 429:
        return {"reconnect": "none"}
    again = "handshake" if channel == channels.HANDSHAKE else "retry"
    return {"reconnect": again, "interval": _UNAVAILABLE_INTERVAL}


def _names_no_session(error: BayeuxError | str) -> bool:
    # Not an extension's 401, which refuses the client for good.
    return isinstance(error, BayeuxError) and (
        error.code == 401 or error.arguments == ("clientId",)
    )


def _code(error: str) -> int:
    """Return the code of an extension's error, 403 if it has none."""
    code = error.partition(":")[0]
    return int(code) if re.fullmatch("[0-9]{3}", code) else 403
