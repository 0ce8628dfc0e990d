"""Replies, and the advice that goes with them."""

from __future__ import annotations

import re
from typing import Any, Final

from txbayeux import channel as channels
from txbayeux.errors import BayeuxError
from txbayeux.message import Message
from txbayeux.server.fields import message_id
from txbayeux.server.options import CONNECTION_TYPES, VERSION, ServerOptions

__all__ = ["advice", "offer", "refusal", "refuse", "reply"]

_UNAVAILABLE_INTERVAL: Final = 5000
"""Milliseconds to stay away after an error of ours: clients obey it, and calm down."""


def reply(message: Message) -> Message:
    """Begin a successful reply: the channel, the id, the session."""
    answer: Message = {"channel": message["channel"], "successful": True}
    identity = message_id(message)
    if identity is not None:
        answer["id"] = identity
    session_id = message.get("clientId")
    if isinstance(session_id, str) and len(session_id) <= 256:
        answer["clientId"] = session_id
    return answer


def advice(options: ServerOptions) -> Message:
    """Advise a client that all is well: when to connect, how long it will be held."""
    return {
        "reconnect": "retry",
        "interval": round(options.interval * 1000),
        "timeout": round(options.timeout * 1000),
    }


def offer() -> Message:
    """Say what can be negotiated; also with a refusal, so that a client can adapt."""
    return {
        "version": VERSION,
        "minimumVersion": VERSION,
        "supportedConnectionTypes": list(CONNECTION_TYPES),
    }


def refusal(message: Any, error: BayeuxError | str, given: object = None) -> Message:
    """Refuse: the channel and the id as far as they make sense, the error, advice.

    Advice is ``handshake`` for a session that is not known, ``retry`` or
    ``handshake`` after a while for an error of ours, and ``none`` for a
    handshake or connect that would be refused again; or what an extension has
    ``given``.
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
        answer |= offer()
    if channel in (channels.SUBSCRIBE, channels.UNSUBSCRIBE):
        answer["subscription"] = message.get("subscription", [])
    what = given if isinstance(given, dict) else _advice_for(channel, error)
    if what is not None:
        answer["advice"] = what
    return answer


def refuse(answer: Message, given: object) -> None:
    """Make a refusal of a reply in which an extension put ``error`` on its way out.

    :param given: the reply's advice as it was, which now does not hold.
    """
    channel = answer.get("channel")
    answer["successful"] = False
    if answer.get("advice") == given:
        what = _advice_for(channel, str(answer["error"]))
        answer.pop("advice", None)
        if what is not None:
            answer["advice"] = what
    if channel == channels.HANDSHAKE:
        answer.pop("clientId", None)


def _code(error: str) -> int:
    """Read an extension's error; one without a code is a refusal like any other."""
    code = error.partition(":")[0]
    return int(code) if re.fullmatch("[0-9]{3}", code) else 403


def _advice_for(channel: object, error: BayeuxError | str) -> Message | None:
    code = error.code if isinstance(error, BayeuxError) else _code(error)
    if code == 402:
        return {"reconnect": "handshake", "interval": 0}
    if channel == channels.HANDSHAKE:
        if code >= 500:
            return {"reconnect": "handshake", "interval": _UNAVAILABLE_INTERVAL}
        return {"reconnect": "none"}
    if channel == channels.CONNECT:
        if code >= 500:
            return {"reconnect": "retry", "interval": _UNAVAILABLE_INTERVAL}
        return {"reconnect": "none"}
    return None
