"""``/meta/subscribe`` and ``/meta/unsubscribe``.  Bayeux specification, same names."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from txbayeux.events import Subscribed, Unsubscribed
from txbayeux.message import Message
from txbayeux.server.context import Exchange, ServerContext
from txbayeux.server.fields import session_id, subscription
from txbayeux.server.replies import reply

__all__ = ["subscribe", "unsubscribe"]


def subscribe(
    core: ServerContext, message: Message, exchange: Exchange
) -> Deferred[Message]:
    """Subscribe to channels and patterns: to all that are named, or to none.

    ====================================  =====================================
    request MUST contain                  channel, clientId, subscription
    request MAY contain                   ext, id
    reply MUST contain                    channel, successful, subscription
    reply MAY contain                     clientId, error, advice, ext, id
    ====================================  =====================================

    Repeating a subscription succeeds and changes nothing.  A service channel
    is accepted and not recorded.
    """
    session = session_id(message)
    return core.engine.subscribe(session, subscription(message)).addCallback(
        _done, core, message, session, Subscribed
    )


def unsubscribe(
    core: ServerContext, message: Message, exchange: Exchange
) -> Deferred[Message]:
    """Unsubscribe; the fields are those of :func:`subscribe`.

    Channels that the session is not subscribed to are passed over.
    """
    session = session_id(message)
    return core.engine.unsubscribe(session, subscription(message)).addCallback(
        _done, core, message, session, Unsubscribed
    )


def _done(
    changed: Sequence[str],
    core: ServerContext,
    message: Message,
    session: str,
    kind: type[Subscribed | Unsubscribed],
) -> Message:
    if core.events.heard(kind):
        for channel in changed:
            core.events.emit(kind(session, channel))
    answer = reply(message)
    answer["subscription"] = message["subscription"]
    return answer
