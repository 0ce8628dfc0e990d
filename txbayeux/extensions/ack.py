"""The client's half of acknowledgement: the server keeps messages until then.

The server's half is in :mod:`txbayeux.server.handshake`,
:mod:`txbayeux.server.connect`, :mod:`txbayeux.engine.hub`,
:mod:`txbayeux.engine.session` and, with Redis,
:mod:`txbayeux.engine.redis.session_connects`.

Source: CometD documentation, "Message Acknowledgment Extension".
"""

from __future__ import annotations

from txbayeux import channel as channels
from txbayeux.extension import Extension
from txbayeux.interfaces import Request
from txbayeux.message import Message

__all__ = ["Ack"]


class Ack(Extension):
    """The client's half of CometD's ack extension; one object per client.

    With a server that supports it, a message that was lost on the way is sent
    again: each arrives once, in order, as long as the session lives.  With any
    other server it changes nothing.
    """

    channels = (channels.HANDSHAKE, channels.CONNECT)

    def __init__(self) -> None:
        self.enabled = False
        """Whether the server of the current session supports it."""
        self._batch = 0

    def outgoing(self, message: Message, request: Request | None) -> Message:
        """Offer the extension in handshakes; acknowledge the last batch in connects."""
        if message["channel"] == channels.HANDSHAKE:
            self.enabled = False
            self._batch = 0
            message.setdefault("ext", {})["ack"] = True
        elif self.enabled:
            message.setdefault("ext", {})["ack"] = self._batch
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
            self._batch = ack
        return message
