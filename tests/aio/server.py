"""A Bayeux server for these tests: python -m tests.aio.server CERTIFICATE

It writes its certificate to the file, and prints its ports for HTTP and HTTPS.  It ends
with its input.  It refuses handshakes with the token "expired", and all on /forbidden.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import stdio, task
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from tests.transport.test_tls import certificate_for
from txbayeux import Bayeux, Extension, Message


class Rules(Extension):
    """Refuse what the module's docstring says."""

    def incoming(self, message: Message, request: Any) -> Message:
        ext = message.get("ext") or {}
        names = (message["channel"], message.get("subscription"))
        if ext.get("token") == "expired":
            message["error"] = "401::Expired"
        elif "/forbidden" in names:
            message["error"] = "403:/forbidden:Forbidden channel"
        return message


class Input(Protocol):
    """Calls a function when the input ends."""

    def __init__(self, ended: Any) -> None:
        self._ended = ended

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._ended(None)


async def main(reactor: Any, certificate: str) -> None:
    bayeux = Bayeux(reactor, extensions=[Rules()])
    await bayeux.start()
    identity = certificate_for()
    Path(certificate).write_bytes(identity.pem)
    site = bayeux.site()
    http = reactor.listenTCP(0, site, interface="127.0.0.1")
    tls = TLSMemoryBIOFactory(identity.private.options(), False, site)
    https = reactor.listenTCP(0, tls, interface="127.0.0.1")
    print(http.getHost().port, https.getHost().port, flush=True)
    ended: Deferred[None] = Deferred()
    stdio.StandardIO(Input(ended.callback))
    await ended
    await bayeux.stop()


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
