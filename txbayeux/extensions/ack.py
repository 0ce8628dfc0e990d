"""The client's half of acknowledgement: the server keeps messages until then.

The server's half is in :mod:`txbayeux.server.handshake`,
:mod:`txbayeux.server.connect`, :mod:`txbayeux.engine.hub`,
:mod:`txbayeux.engine.session` and, with Redis,
:mod:`txbayeux.engine.redis.session_connects`.

Source: CometD documentation, "Message Acknowledgment Extension".
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from txbayeux import channel as channels
from txbayeux.extension import Extension, HookResult
from txbayeux.extensions.progress import Progress
from txbayeux.interfaces import Request
from txbayeux.message import Message, asks_for_immediate_reply

__all__ = ["Ack"]


class Ack(Extension):
    """The client's half of CometD's ack extension; one object per client.

    With a server that supports it, a message that was lost on the way is sent
    again: each arrives at least once, in order, as long as the session lives.  With any
    other server it changes nothing.

    A batch is acknowledged when all its messages have been processed, and the next
    connect waits until then: the server answers a connect that acknowledges less at
    once, with the same messages.  Only after a failure is that done.
    """

    channels = (channels.HANDSHAKE, channels.CONNECT)

    def __init__(self) -> None:
        self.enabled = False
        """Whether the server of the current session supports it."""
        self._progress = Progress(0)
        self._waiting: Deferred[None] | None = None

    def outgoing(self, message: Message, request: Request | None) -> HookResult:
        """Offer the extension in handshakes; acknowledge the last batch in connects."""
        if message["channel"] == channels.HANDSHAKE:
            self.enabled = False
            self._progress = Progress(0)
            message.setdefault("ext", {})["ack"] = True
        elif self.enabled:
            if self._progress.complete or asks_for_immediate_reply(message):
                return self._acknowledge(message)
            # Fires when it is cancelled, too: the connect is not sent then.
            self._waiting = Deferred(lambda waiting: waiting.callback(None))
            return self._waiting.addCallback(lambda _: self._acknowledge(message))
        return message

    def _acknowledge(self, message: Message) -> Message:
        message.setdefault("ext", {})["ack"] = self._progress.position
        return message

    def incoming(self, message: Message, request: Request | None) -> Message:
        """Read whether the server supports it, and the number of the last batch."""
        ext = message.get("ext")
        if message.get("successful") is not True or not isinstance(ext, dict):
            return message
        ack = ext.get("ack")
        if message["channel"] == channels.HANDSHAKE:
            # CometD 4 and later: {"enabled": true, "batch": 7}; before: true.
            if isinstance(ack, dict):
                self.enabled = ack.get("enabled") is True
                ack = ack.get("batch")
            else:
                self.enabled = ack is True
        if isinstance(ack, int) and not isinstance(ack, bool):
            self._progress.arrived = ack
        return message

    def delivering(self, message: Message, processed: Deferred[bool]) -> None:
        """Acknowledge nothing that came later before this message is processed."""
        progress = self._progress

        def ended(_: bool) -> None:
            progress.end(processed)
            waiting = self._waiting
            if progress is self._progress and progress.complete and waiting is not None:
                self._waiting = None
                if not waiting.called:
                    waiting.callback(None)

        progress.begin(processed)
        processed.addCallback(ended)
