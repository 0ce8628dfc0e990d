"""``/meta/subscribe`` and ``/meta/unsubscribe``."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from txbayeux.events import Events, Subscribed, Unsubscribed
from txbayeux.message import Message
from txbayeux.server.context import RequestContext, ServerContext
from txbayeux.server.fields import session_id, subscription
from txbayeux.server.replies import reply

__all__ = ["emit_subscriptions", "subscribe", "unsubscribe"]


def subscribe(
    server: ServerContext, message: Message, context: RequestContext
) -> Deferred[Message]:
    """Subscribe the session to all the channels and patterns named, or to none.

    Fields (Bayeux specification, "Subscribe Request" and "Subscribe Response"):

    ====================================  ========================================
    request MUST contain                  channel, clientId, subscription
    request MAY contain                   ext, id
    reply MUST contain                    channel, successful, subscription
    reply MAY contain                     clientId, error, advice, ext, id
    ====================================  ========================================

    Repeating a subscription succeeds and changes nothing.  A subscription to a
    service channel is accepted and not recorded.
    """
    session = session_id(message)
    names = subscription(message, server.names)
    return server.engine.subscribe(session, names).addCallback(
        _reply, server, message, session, Subscribed
    )


def unsubscribe(
    server: ServerContext, message: Message, context: RequestContext
) -> Deferred[Message]:
    """Unsubscribe the session from all the channels and patterns named.

    Fields (Bayeux specification, "Unsubscribe Request" and "Unsubscribe Response"):

    ====================================  ========================================
    request MUST contain                  channel, clientId, subscription
    request MAY contain                   ext, id
    reply MUST contain                    channel, successful, subscription
    reply MAY contain                     clientId, error, advice, ext, id
    ====================================  ========================================

    Those that the session is not subscribed to are ignored.
    """
    session = session_id(message)
    names = subscription(message, server.names)
    return server.engine.unsubscribe(session, names).addCallback(
        _reply, server, message, session, Unsubscribed
    )


def _reply(
    changed: Sequence[str],
    server: ServerContext,
    message: Message,
    session: str,
    event: type[Subscribed | Unsubscribed],
) -> Message:
    emit_subscriptions(server.events, event, session, changed)
    answer = reply(message)
    answer["subscription"] = message["subscription"]
    return answer


def emit_subscriptions(
    events: Events,
    event: type[Subscribed | Unsubscribed],
    session: str,
    changed: Sequence[str],
) -> None:
    """Emit an event for each channel that a session has subscribed to or left."""
    if events.has_listeners(event):
        for channel in changed:
            events.emit(event(session, channel))
