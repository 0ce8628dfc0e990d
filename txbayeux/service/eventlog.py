"""Log what sessions do: ``--verbose``."""

from __future__ import annotations

from collections.abc import Callable
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

_OfChannel = Subscribed | Unsubscribed | Published


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

    def log_channel(verb: str) -> Callable[[_OfChannel], None]:
        def listener(event: _OfChannel) -> None:
            _log.info(
                "{session} {verb} {channel}",
                session=_short(event.session_id),
                verb=verb,
                channel=event.channel,
            )

        return listener

    def disconnected(event: Disconnected) -> None:
        _log.info(
            "{session} disconnect: {reason}",
            session=_short(event.session_id),
            reason=event.reason.value,
        )

    events.listen(Handshaken, handshaken)
    events.listen(Connected, connected)
    events.listen(Subscribed, log_channel("subscribe"))
    events.listen(Unsubscribed, log_channel("unsubscribe"))
    events.listen(Published, log_channel("publish"))
    events.listen(Disconnected, disconnected)


def _short(session_id: str | None) -> str:
    return session_id[:8] if session_id else "-"
