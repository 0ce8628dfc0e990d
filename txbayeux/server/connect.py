"""``/meta/connect``.  Bayeux specification, "Connect"."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred

from txbayeux.errors import (
    UnknownSession,
    connection_types_mismatch,
    missing_parameter,
    wrong_parameter,
)
from txbayeux.events import Connected, Reason
from txbayeux.interfaces import Delivery
from txbayeux.message import Message
from txbayeux.server.context import (
    ConnectAnswer,
    Exchange,
    PendingConnect,
    ServerContext,
)
from txbayeux.server.fields import connect_advice, extension_field, session_id
from txbayeux.server.options import CONNECTION_TYPES
from txbayeux.server.replies import reply

__all__ = ["connect", "connected"]

_SUPERSEDED_INTERVAL: Final = 1000
"""Milliseconds that a connect released by another one is told to stay away.

Two tabs that share one session would otherwise release each other without end.
"""


def connect(
    core: ServerContext, message: Message, exchange: Exchange
) -> PendingConnect:
    """Say that the client listens, and wait for messages.

    ====================================  =====================================
    request MUST contain                  channel, clientId, connectionType
    request MAY contain                   advice (timeout), ext, id
    reply MUST contain                    channel, successful
    reply MAY contain                     clientId, error, advice, ext, id
    ====================================  =====================================

    The answer waits until there are messages, at most the smaller of the
    client's ``advice.timeout`` and ours.  It does not wait when it came with
    other messages, whose replies would wait with it (as CometD's server does).
    A connect of type ``eventsource`` is answered at once: the messages are on
    the stream, and the advice spaces the connects (Faye's behaviour).
    """
    session = session_id(message)
    kind = _connection_type(message)
    hold = connect_advice(message, core.options.timeout)
    if not exchange.alone or kind == "eventsource":
        hold = 0.0
    acknowledged = extension_field(message, "ack")
    if isinstance(acknowledged, bool) or not isinstance(acknowledged, int):
        acknowledged = None

    def wait(_: object = None) -> Deferred[Delivery]:
        return core.engine.connect(
            session, hold=hold, stream=exchange.stream, acknowledged=acknowledged
        )

    if not core.events.heard(Connected):
        return PendingConnect(message, wait())

    def accepted(_: object) -> None:
        core.events.emit(Connected(session, exchange.request))

    # The engine's word comes with the answer, which may be long in coming.
    known = core.engine.check_session(session).addCallback(accepted)
    return PendingConnect(message, known.addCallback(wait))


def _connection_type(message: Message) -> str:
    kind: Any = message.get("connectionType")
    if kind is None:
        raise missing_parameter("connectionType")
    if not isinstance(kind, str):
        raise wrong_parameter("connectionType")
    if kind not in CONNECTION_TYPES:
        raise connection_types_mismatch((kind,))
    return kind


def connected(
    core: ServerContext, message: Message, delivery: Delivery
) -> ConnectAnswer:
    """Answer a connect with what the engine has for it.

    :raises UnknownSession: if its session has ended meanwhile.
    """
    if delivery.ended in (Reason.KICKED, Reason.TIMEOUT):
        raise UnknownSession(message["clientId"], delivery.why or "Session closed")
    advice = core.advice.copy()
    answer = reply(message)
    answer["advice"] = advice
    if delivery.ended is Reason.CLIENT:
        answer["advice"] = {"reconnect": "none"}
    elif delivery.superseded:
        advice["interval"] = max(_SUPERSEDED_INTERVAL, advice["interval"])
    elif message["connectionType"] == "eventsource":
        advice["interval"] = advice["timeout"]
        advice["timeout"] = 0
    if delivery.acknowledgement is not None:
        answer["ext"] = {"ack": delivery.acknowledgement}
    return ConnectAnswer(delivery, answer)
