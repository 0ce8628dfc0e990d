"""``/meta/disconnect``."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txbayeux.events import Reason
from txbayeux.message import Message
from txbayeux.server.context import RequestContext, ServerContext
from txbayeux.server.fields import session_id
from txbayeux.server.replies import reply

__all__ = ["disconnect"]


def disconnect(
    server: ServerContext, message: Message, context: RequestContext
) -> Deferred[Message]:
    """End the session: answer its held connect, close its stream.

    Fields (Bayeux specification, "Disconnect Request" and "Disconnect Response"):

    ====================================  ========================================
    request MUST contain                  channel, clientId
    request MAY contain                   ext, id
    reply MUST contain                    channel, successful
    reply MAY contain                     clientId, error, ext, id
    ====================================  ========================================
    """
    ended = server.engine.destroy_session(session_id(message), Reason.CLIENT)
    return ended.addCallback(lambda _: reply(message))
