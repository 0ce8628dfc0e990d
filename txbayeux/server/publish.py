"""Messages published by clients."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from txbayeux import channel as channels
from txbayeux.errors import (
    TooManyDeliveries,
    UnknownSession,
    channel_invalid,
    missing_parameter,
    session_required,
    wrong_parameter,
)
from txbayeux.events import Published
from txbayeux.message import Message, encode
from txbayeux.server.context import RequestContext, ServerContext
from txbayeux.server.fields import message_id

__all__ = ["must_wait", "publish"]


def publish(
    server: ServerContext, message: Message, context: RequestContext, added: Message
) -> Message | Deferred[Message]:
    """Publish a message to the subscribers of its channel.

    Fields (Bayeux specification, "Publish Request" and "Publish Response"):

    ====================================  ========================================
    request MUST contain                  channel, data
    request MAY contain                   clientId, id, ext
    reply MUST contain                    channel, successful
    reply MAY contain                     id, error, ext
    ====================================  ========================================

    Of the client's fields, subscribers get ``channel``, ``data`` and ``id`` only.
    ``data`` may be null, 0, "" or false; only its absence is refused.  A ``clientId``
    that is not known counts as none, unless a session is required.  A message on a
    service channel goes to the server's own listeners instead ("Service Channels").

    :param added: fields that incoming extensions added; subscribers get them, too.
    """
    channel = message["channel"]
    if not server.names.is_name(channel):
        raise channel_invalid(channel)
    if "data" not in message:
        raise missing_parameter("data")
    required_session = _required_session(server, message, context)
    if channels.is_service(channel):
        return _serve(server, message, context, must_exist=required_session is not None)
    peer, reached = context.peer, 0
    if peer is not None or (context.request is not None and not context.alone):
        reached = _count_deliveries(server, channel, context)
    identity = message_id(message)
    shared = {"channel": channel, "data": message["data"]}
    if identity is not None:
        shared["id"] = identity
    json = encode(shared | added if added else shared)
    if peer is not None:
        session_id = message.get("clientId")
        server.peers.admit_publish(peer, session_id, len(json), reached)
    published = server.engine.publish(channel, json, required_session)
    if server.events.has_listeners(Published):
        published.addCallback(_emit_published, server, message)
    elif published.called and published.result is None:
        # The memory engine is done: not to use callbacks saves 3 of 20 µs.
        return _reply(None, channel, identity)
    # No function in this one: its variables would be slower to get.
    return published.addCallback(_reply, channel, identity)


def _emit_published(
    _: object, server: ServerContext, message: Message
) -> Deferred[None]:
    """Emit ``Published`` with the session that published, if there is one."""

    def emit(publisher: str | None) -> None:
        event = Published(publisher, message["channel"], message["data"])
        server.events.emit(event)

    existing = _existing_session(server, message, must_exist=False)
    return existing.addCallback(emit)


def _serve(
    server: ServerContext,
    message: Message,
    context: RequestContext,
    *,
    must_exist: bool,
) -> Deferred[Message]:
    """Pass a message on a service channel to the server's listeners."""
    if context.peer is not None:
        server.peers.admit_publish(context.peer, message.get("clientId"), 0)

    def call_listeners(publisher: str | None) -> Message:
        shown = {name: message[name] for name in message if name != "clientId"}
        if publisher is not None:
            shown["clientId"] = publisher
        server.services.handle(shown)
        server.events.emit(Published(publisher, message["channel"], message["data"]))
        return _reply(None, message["channel"], message_id(message))

    existing = _existing_session(server, message, must_exist=must_exist)
    return existing.addCallback(call_listeners)


def must_wait(server: ServerContext, message: Any, context: RequestContext) -> bool:
    """Return whether a message is published to many in a busy reactor turn.

    The application's own never wait: they take effect in the order of the calls.
    """
    hub = server.engine.hub
    if not hub.busy or context.request is None or not isinstance(message, dict):
        return False
    channel: Any = message.get("channel")
    return (
        server.names.is_name(channel)
        and not channels.is_reserved(channel)
        and not channels.is_service(channel)
        and hub.must_wait(channel, first=context.deliveries == 0)
    )


def _count_deliveries(
    server: ServerContext, channel: str, context: RequestContext
) -> int:
    """Return how many subscriptions a message matches.

    Refuse it, and all after it, if its request reaches too many.
    """
    reached = server.engine.hub.fan_out(channel)
    before = context.deliveries
    context.deliveries = before + reached
    if before and not server.engine.hub.may_deliver(context.deliveries):
        raise TooManyDeliveries
    return reached


def _reply(_: object, channel: str, identity: str | int | None) -> Message:
    # Not reply(): the session that published it need not be known to the client.
    answer: Message = {"channel": channel, "successful": True}
    if identity is not None:
        answer["id"] = identity
    return answer


def _required_session(
    server: ServerContext, message: Message, context: RequestContext
) -> str | None:
    """Return the session that must exist for the message to be accepted, or None."""
    session = message.get("clientId")
    if session is not None and not isinstance(session, str):
        raise wrong_parameter("clientId")
    if server.options.publish_without_session or context.request is None:
        return None
    if not session:
        raise session_required()
    return session


def _existing_session(
    server: ServerContext, message: Message, *, must_exist: bool
) -> Deferred[str | None]:
    """Return the message's ``clientId``, or None if there is no such session.

    Listeners are told of sessions that exist, whatever a client claims.  Fails with
    :class:`~txbayeux.errors.UnknownSession` if the session ``must_exist``.
    """
    session = message.get("clientId")
    if not session:
        return succeed(None)

    def unknown(failure: Failure) -> Failure | None:
        failure.trap(UnknownSession)
        return failure if must_exist else None

    existing = server.engine.check_session(session)
    return existing.addCallbacks(lambda _: session, unknown)
