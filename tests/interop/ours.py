"""Our client with its Ack extension, like ack.js: ours.py URL TRANSPORT CHANNEL."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from txbayeux import Client
from txbayeux.client import Retry
from txbayeux.extension import Extension
from txbayeux.extensions.ack import Ack
from txbayeux.message import Message


def report(**line: Any) -> None:
    print(json.dumps(line), flush=True)


class Handshakes(Extension):
    channels = ("/meta/handshake",)

    def incoming(self, message: Message, request: object) -> Message:
        ack = message.get("ext", {}).get("ack")
        report(handshake=message["successful"], ack=bool(ack))
        return message


async def listen(url: str, transport: str, channel: str) -> None:
    client = Client(
        url,
        reactor=reactor,
        transports=[transport],
        extensions=[Ack(), Handshakes()],
        # As fast as the other clients: much happens in a few seconds.
        retry=Retry(initial=0.05, maximum=0.2, stable=0.05),
    )
    subscription = client.subscribe(
        channel, lambda message: report(data=message["data"])
    )
    await subscription.ready
    report(ready=True)


there: Any = reactor
there.callWhenRunning(lambda: Deferred.fromCoroutine(listen(*sys.argv[1:4])))
there.run()
