"""``/meta/disconnect``.  Bayeux specification, "Disconnect"."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txbayeux.events import Reason
from txbayeux.message import Message
from txbayeux.server.context import Exchange, ServerContext
from txbayeux.server.fields import session_id
from txbayeux.server.replies import reply

__all__ = ["disconnect"]


def disconnect(
    core: ServerContext, message: Message, exchange: Exchange
) -> Deferred[Message]:
    """End the session.

    ====================================  =====================================
    request MUST contain                  channel, clientId
    request MAY contain                   ext, id
    reply MUST contain                    channel, successful
    reply MAY contain                     clientId, error, ext, id
    ====================================  =====================================

    Its held connect is answered, its socket closed.
    """
    ended = core.engine.destroy_session(session_id(message), Reason.CLIENT)
    return ended.addCallback(lambda _: reply(message))
