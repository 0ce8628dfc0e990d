"""What a publish or subscription fails with when the server did not refuse it."""

from __future__ import annotations

from txbayeux.errors import BayeuxError

__all__ = ["BufferOverflow", "Closed", "OutboxFull", "PublishTimeout"]


class Closed(BayeuxError):
    """The client was disconnected before the server answered."""

    def __init__(self, channel: str) -> None:
        super().__init__(410, (channel,), "The client was disconnected")


class PublishTimeout(BayeuxError):
    """The deadline or the number of attempts passed without an answer.

    The server may have accepted the message all the same.  ``__cause__`` is the
    last failure, where there was one.
    """

    def __init__(self, channel: str, why: str) -> None:
        super().__init__(408, (channel,), why)


class OutboxFull(BayeuxError):
    """More is waiting to be sent than the client may keep."""

    def __init__(self, channel: str) -> None:
        super().__init__(507, (channel,), "Too many messages are waiting")


class BufferOverflow(BayeuxError):
    """A subscription's iterator was not read as fast as messages came."""

    def __init__(self, channel: str) -> None:
        super().__init__(507, (channel,), "Messages were dropped, none read them")
