"""Fan-out with Autobahn and nothing else, as a lower bound.

Usage: python autobahn_only.py PORT

Replies to the messages of the load generator, and sends each published message to
the subscribers of its channel as a prepared message.  There is no validation, and
there are no sessions, queues, limits or timeouts.
"""

import json
import sys
from itertools import count

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor

subscribers: dict[str, set["FanOut"]] = {}
numbers = count()


class FanOut(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        for message in json.loads(payload):
            channel = message["channel"]
            if "data" in message:
                delivery = {"channel": channel, "data": message["data"]}
                text = json.dumps([delivery]).replace('"t": ', '"t":').encode()
                prepared = self.factory.prepareMessage(text)
                for subscriber in subscribers.get(channel, ()):
                    subscriber.sendPreparedMessage(prepared)
            elif channel == "/meta/subscribe":
                for name in message["subscription"]:
                    subscribers.setdefault(name, set()).add(self)
            if channel != "/meta/connect":
                reply = {
                    "channel": channel,
                    "successful": True,
                    "clientId": message.get("clientId") or f"session{next(numbers)}",
                }
                text = json.dumps([reply], separators=(",", ":")).encode()
                self.sendMessage(text)  # type: ignore[no-untyped-call]

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        for members in subscribers.values():
            members.discard(self)


factory = WebSocketServerFactory()
factory.protocol = FanOut
factory.setProtocolOptions(tcpNoDelay=True)
reactor.listenTCP(int(sys.argv[1]), factory, backlog=4096, interface="127.0.0.1")
reactor.run()
