"""``/meta/connect``."""

from __future__ import annotations

from functools import partial
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
    PendingConnect,
    RequestContext,
    ServerContext,
)
from txbayeux.server.fields import connect_timeout, extension_field, session_id
from txbayeux.server.options import CONNECTION_TYPES
from txbayeux.server.replies import reply

__all__ = ["answer_connect", "connect"]

_SUPERSEDED_INTERVAL: Final = 1000
"""Advised interval, in milliseconds, when another connect released this one.

Two tabs that share one session would otherwise release each other without end.
"""


def connect(
    server: ServerContext, message: Message, context: RequestContext
) -> PendingConnect:
    """Wait for messages to the session.

    Fields (Bayeux specification, "Connect Request" and "Connect Response"):

    ====================================  ========================================
    request MUST contain                  channel, clientId, connectionType
    request MAY contain                   advice (timeout), ext, id
    reply MUST contain                    channel, successful
    reply MAY contain                     clientId, error, advice, ext, id
    ====================================  ========================================

    The connect is held until there are messages, for at most the smaller of the
    client's ``advice.timeout`` and the server's.  It is not held if its request has
    other messages, whose replies would be late (as on CometD's server).  A connect of
    type ``eventsource`` is answered at once: messages go to the event stream, and the
    advice spaces the connects (as on Faye's server).  One that acknowledges is held:
    its session gets messages with answers only, whatever stream it has.
    """
    session = session_id(message)
    connection_type = _connection_type(message)
    hold = connect_timeout(message, server.options.timeout)
    acknowledged = _acknowledged(message)
    if not context.alone or (connection_type == "eventsource" and acknowledged is None):
        hold = 0.0

    connect_session = server.engine.connect
    if server.events.has_listeners(Connected):
        connect_session = partial(_emit_and_connect, server, context)
    delivery = connect_session(
        session, hold=hold, stream=context.stream, acknowledged=acknowledged
    )
    return PendingConnect(message, delivery)


def _emit_and_connect(
    server: ServerContext, context: RequestContext, session: str, **arguments: Any
) -> Deferred[Delivery]:
    """Emit ``Connected`` if the session exists, then connect."""

    def exists(_: object) -> Deferred[Delivery]:
        server.events.emit(Connected(session, context.request))
        return server.engine.connect(session, **arguments)

    # The engine refuses an unknown session only with its answer, which may take long.
    return server.engine.check_session(session).addCallback(exists)


def _acknowledged(message: Message) -> int | None:
    """Return the position that ``ext.ack`` acknowledges, or None."""
    value = extension_field(message, "ack")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _connection_type(message: Message) -> str:
    value: Any = message.get("connectionType")
    if value is None:
        raise missing_parameter("connectionType")
    if not isinstance(value, str):
        raise wrong_parameter("connectionType")
    if value not in CONNECTION_TYPES:
        raise connection_types_mismatch((value,))
    return value


def answer_connect(
    server: ServerContext, message: Message, delivery: Delivery
) -> ConnectAnswer:
    """Return the answer to the connect ``message``, with what the engine delivers.

    :raises UnknownSession: if the session has ended since.
    """
    advice = server.advice.copy()
    answer = reply(message)
    answer["advice"] = advice
    ended = delivery.ended
    if ended is not None:  # seldom; members of an enumeration are slow to get
        if ended in (Reason.KICKED, Reason.TIMEOUT):
            raise UnknownSession(message["clientId"], delivery.why or "Session closed")
        if ended is Reason.CLIENT:
            answer["advice"] = {"reconnect": "none"}
    if delivery.superseded:
        advice["interval"] = max(_SUPERSEDED_INTERVAL, advice["interval"])
    elif message["connectionType"] == "eventsource" and _acknowledged(message) is None:
        advice["interval"] = advice["timeout"]
        advice["timeout"] = 0
    if delivery.acknowledgement is not None:
        answer["ext"] = {"ack": delivery.acknowledgement}
    return ConnectAnswer(delivery, answer)
