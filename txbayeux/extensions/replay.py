"""Replay: a durable server resumes after the last message that was received.

Source: Salesforce, "Streaming API Developer Guide", "Message Durability".
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux import channel as channels
from txbayeux.errors import BayeuxError
from txbayeux.extension import Extension
from txbayeux.extensions.progress import Progress
from txbayeux.interfaces import Request
from txbayeux.message import Message

__all__ = ["ALL", "NEW", "Replay"]

NEW: Final = -1
"""Only what is published from now on."""
ALL: Final = -2
"""All that the server has stored, then what is published from now on."""

_log: Final = Logger()


class Replay(Extension):
    """Salesforce's replay extension; one object per client.

    :param store: the last replay id of each channel; a dict by default, or any
        mutable mapping to resume after a restart, such as :class:`ReplayFile`.
    :param default: the replay id for a channel that is not in the store.
    :param fallback: the replay id if the server does not have the stored one any more.

    An id is stored once its message, and all earlier ones of its channel, have been
    processed: what was not comes again after a restart.  A new session begins behind
    the last message that has arrived, since those before it are still being processed.
    The client makes one whenever a connection is lost, with messages perhaps.
    """

    channels = (channels.HANDSHAKE, channels.SUBSCRIBE)
    resumes = True

    def __init__(
        self,
        store: MutableMapping[str, int] | None = None,
        *,
        default: int = NEW,
        fallback: int = ALL,
    ) -> None:
        self.store: MutableMapping[str, int] = {} if store is None else store
        self._default = default
        self._fallback = fallback
        self._asked: dict[str, int] = {}
        self._progress: dict[str, Progress[int | None]] = {}
        self._holes: set[str] = set()
        """Channels with a message that will not be processed unless it comes again."""

    def outgoing(self, message: Message, request: Request | None) -> Message:
        """Add the replay id to a subscription."""
        channel = message["channel"]
        if channel == channels.HANDSHAKE:
            message.setdefault("ext", {})["replay"] = True
        elif channel == channels.SUBSCRIBE:
            wanted = channels.without_query(message["subscription"])
            begin = self._asked[wanted] = self._next(wanted)
            message.setdefault("ext", {})["replay"] = {wanted: begin}
        return message

    def _next(self, channel: str) -> int:
        if channel in self._holes:
            self._forget(channel)
        progress = self._progress.get(channel)
        if progress is not None and progress.arrived is not None:
            return progress.arrived
        return self.store.get(channel, self._default)

    def _forget(self, channel: str) -> None:
        """Begin anew at the stored id; ignore what is still being processed."""
        self._holes.discard(channel)
        self._progress.pop(channel, None)

    def incoming(self, message: Message, request: Request | None) -> Message | None:
        """Repeat a subscription whose id the server does not have.

        Its refusal is dropped: the client takes the reply for lost, and repeats it.
        """
        if message["channel"] == channels.SUBSCRIBE:
            return self._answered(message)
        return message

    def delivering(self, message: Message, processed: Deferred[bool]) -> None:
        """Store the message's id once it and all before it have been processed."""
        channel = channels.without_query(message["channel"])
        data = message.get("data")
        event = data.get("event") if isinstance(data, dict) else None
        replay_id = event.get("replayId") if isinstance(event, dict) else None
        if not isinstance(replay_id, int) or isinstance(replay_id, bool):
            return
        progress = self._progress.get(channel)
        if progress is None:
            progress = self._progress[channel] = Progress(self.store.get(channel))

        def ended(is_processed: bool) -> None:
            if self._progress.get(channel) is not progress:
                return
            if not is_processed:
                self._holes.add(channel)
                return
            before = progress.position
            progress.end(processed)
            position = progress.position
            if position is not None and position != before:
                self.store[channel] = position

        progress.begin(processed)
        progress.arrived = replay_id
        processed.addCallback(ended)

    def _answered(self, reply: Message) -> Message | None:
        subscription = reply.get("subscription")
        channel = channels.without_query(str(subscription))
        asked = self._asked.pop(channel, None)
        if reply.get("successful") is True or asked is None:
            return reply
        error = BayeuxError.parse(reply.get("error"))
        is_gone = error.code == 400 and "replay" in error.text.lower()
        if not is_gone or asked in (self._fallback, NEW, ALL):
            return reply
        _log.warn(
            "{channel}: the server no longer has {asked}: {error}",
            channel=channel,
            asked=asked,
            error=error,
        )
        self.store[channel] = self._fallback
        self._forget(channel)
        return None
