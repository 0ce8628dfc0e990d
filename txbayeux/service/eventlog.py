"""Log what sessions do: ``--verbose``."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

from txbayeux.events import (
    Connected,
    Disconnected,
    Events,
    Handshaken,
    Published,
    Subscribed,
    Unsubscribed,
)

__all__ = ["log_events"]

_log: Final = Logger(namespace="txbayeux")


def log_events(events: Events) -> None:
    """Log each event, with its session and channel.

    A session's id is a credential, so only its first 8 characters are logged.
    """

    def handshaken(event: Handshaken) -> None:
        request = event.request
        _log.info(
            "{session} handshake from {peer} over {transport}",
            session=_short(event.session_id),
            peer=(request.peer or "a Unix socket") if request else "this process",
            transport=request.transport if request else "in-process",
        )

    def connected(event: Connected) -> None:
        _log.info("{session} connect", session=_short(event.session_id))

    def subscribed(event: Subscribed) -> None:
        _log.info(
            "{session} subscribe {channel}",
            session=_short(event.session_id),
            channel=event.channel,
        )

    def unsubscribed(event: Unsubscribed) -> None:
        _log.info(
            "{session} unsubscribe {channel}",
            session=_short(event.session_id),
            channel=event.channel,
        )

    def published(event: Published) -> None:
        _log.info(
            "{session} publish {channel}",
            session=_short(event.session_id),
            channel=event.channel,
        )

    def disconnected(event: Disconnected) -> None:
        _log.info(
            "{session} disconnect: {reason}",
            session=_short(event.session_id),
            reason=event.reason.value,
        )

    events.listen(Handshaken, handshaken)
    events.listen(Connected, connected)
    events.listen(Subscribed, subscribed)
    events.listen(Unsubscribed, unsubscribed)
    events.listen(Published, published)
    events.listen(Disconnected, disconnected)


def _short(session_id: str | None) -> str:
    return session_id[:8] if session_id else "-"
