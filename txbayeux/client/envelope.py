"""A message on its way to the server, and its outcome."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred

from txbayeux.errors import BayeuxError
from txbayeux.message import Message

__all__ = ["Envelope", "Sender"]

_OVERHEAD: Final = 256
"""Bytes to count for the fields beside ``data``: channel, id, clientId, commas."""


class Sender(Protocol):
    """The owner of an envelope, which is told the outcome of each attempt.

    The dispatcher calls exactly one of these for each envelope it was given to send.
    """

    def replied(self, envelope: Envelope, reply: Message) -> None:
        """Called with the server's reply, successful or not."""

    def failed(self, envelope: Envelope, error: Exception) -> None:
        """Called when there is no reply.

        :param error: a :class:`~txbayeux.transport.base.TransportError`; or a
            :class:`~txbayeux.errors.BayeuxError` if an extension stopped the message.
        """


class Envelope:
    """One message, from the call that made it to its outcome, over all attempts.

    :param fields: what every attempt has in common.
    :param sender: is called with the outcome of each attempt.
    :param data: the field ``data`` as JSON, so that later changes of the user's
        object do not matter; None for a message without it.
    :param attempts_allowed: how often to send it at most; None for no limit.
    :param outcome: fires with the final reply, or fails with the reason why there
        is none; None if only ``sender`` is to know.

    :raises ValueError: if ``attempts_allowed`` is below 1.
    """

    __slots__ = (
        "attempts",
        "attempts_allowed",
        "channel",
        "data",
        "fields",
        "message",
        "outcome",
        "place",
        "sender",
        "settled",
    )

    def __init__(
        self,
        fields: Message,
        sender: Sender,
        *,
        data: bytes | None = None,
        attempts_allowed: int | None = None,
        outcome: Deferred[Message] | None = None,
    ) -> None:
        if attempts_allowed is not None and attempts_allowed < 1:
            raise ValueError("there must be at least one attempt")
        self.fields = fields
        self.channel: str = fields["channel"]
        self.sender = sender
        self.data = data
        self.attempts_allowed = attempts_allowed
        self.outcome = outcome
        self.message = fields
        """What this attempt sends; extensions may have changed it."""
        self.attempts = 0
        self.place = 0
        """Its place in the outbox."""
        self.settled = False
        """Whether nothing more is to be sent, for whatever reason."""

    @property
    def size(self) -> int:
        """About how many bytes of JSON it is."""
        return _OVERHEAD if self.data is None else len(self.data) + _OVERHEAD

    @property
    def exhausted(self) -> bool:
        """Whether it was sent as often as is allowed."""
        allowed = self.attempts_allowed
        return allowed is not None and self.attempts >= allowed

    def begin_attempt(self, session_id: str, *, decode: bool) -> None:
        """Make :attr:`message` anew, for another attempt.

        :param decode: whether an extension will look at ``data``; otherwise it is
            sent as the bytes that it is kept as.
        """
        self.attempts += 1
        message = self.message = self.fields | {"clientId": session_id}
        if "ext" in message:
            message["ext"] = dict(message["ext"])
        if self.data is not None:
            data: Any = msgspec.Raw(self.data)
            message["data"] = msgspec.json.decode(self.data) if decode else data

    def report(self, outcome: Message | Exception) -> None:
        """Fire :attr:`outcome`, if there is one that has not fired."""
        if self.outcome is None or self.outcome.called:
            return
        if isinstance(outcome, Exception):
            self.outcome.errback(outcome)
        elif outcome["successful"] is True:
            self.outcome.callback(outcome)
        else:
            self.outcome.errback(BayeuxError.from_reply(outcome))
