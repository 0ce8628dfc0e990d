"""Clients that record what they receive; each request may go to another node."""

import http.client
import json
import random
import threading
import time
from typing import Any

from tests.chaos.websocket import WebSocket

END = "end"


def refused(reply: dict[str, Any], code: int) -> bool:
    """Return whether a reply has this error; its text may have other numbers."""
    return str(reply.get("error")).startswith(f"{code}:")


class Client(threading.Thread):
    """Sends each request to one of ``ports``, by default chosen at random."""

    timeout = 20.0
    """Seconds to wait for an answer."""

    def __init__(self, ports: list[int], seed: int) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.ports = ports
        self.broken = 0
        self.failure: BaseException | None = None

    def next_port(self) -> int:
        """Return where the next request is sent, or the next WebSocket is opened."""
        return self.random.choice(self.ports)

    def post(self, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the replies, or None if it is unknown whether they were sent."""
        port = self.next_port()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=self.timeout)
        try:
            connection.request(
                "POST",
                "/bayeux",
                self.encode(message),
                {"Content-Type": "application/json"},
            )
            answer: list[dict[str, Any]] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            self.broken += 1
            time.sleep(0.05)
            return None
        finally:
            connection.close()
        return answer

    def encode(self, message: dict[str, Any]) -> str:
        """Return the body of a request."""
        return json.dumps([message])

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.failure = error
        finally:
            self.close()

    def work(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close open connections."""


class Publisher(Client):
    """Publishes numbers, ``pause`` seconds apart, until ``stopped`` is set."""

    pause = 0.002

    def __init__(self, ports: list[int], seed: int) -> None:
        super().__init__(ports, seed)
        self.confirmed: list[int] = []
        self.unknown: list[int] = []
        self.stopped = threading.Event()

    def message(self, number: int) -> dict[str, Any]:
        """Return the message with a number."""
        return {"channel": "/chaos/numbers", "data": number}

    def work(self) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            answer = self.post(self.message(number))
            known = answer is not None and answer[-1].get("successful")
            (self.confirmed if known else self.unknown).append(number)
            time.sleep(self.pause)
        self.end()

    def end(self) -> None:
        """Publish that this was all."""
        while True:
            answer = self.post({"channel": "/chaos/numbers", "data": END})
            if answer is not None and answer[-1].get("successful"):
                return


class Subscriber(Client):
    """Receives messages until ``END``, optionally with CometD's acknowledgements."""

    connection_type = "long-polling"
    subscription = "/chaos/*"

    def __init__(self, ports: list[int], seed: int, *, acknowledges: bool) -> None:
        super().__init__(ports, seed)
        self.acknowledges = acknowledges
        self.ready = threading.Event()
        self.received: list[Any] = []
        self.handshakes = 0
        self.session_id = ""
        self._seen = -1

    def exchange(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Take the messages that come with the reply; return it if it is there."""
        reply = None
        for item in self.post(message) or ():
            if item["channel"] == message["channel"]:
                reply = item
            else:
                self.received.append(item["data"])
        return reply

    def exchange_until_answered(self, message: dict[str, Any]) -> dict[str, Any]:
        """Repeat a message until the reply is another one than 503."""
        while True:
            reply = self.exchange(message)
            if reply is not None and not refused(reply, 503):
                return reply
            time.sleep(0.05)

    def handshake(self) -> None:
        """Handshake and subscribe, again if the session is lost in between."""
        while True:
            self.handshakes += 1
            message = {
                "channel": "/meta/handshake",
                "version": "1.0",
                "supportedConnectionTypes": [self.connection_type],
            }
            if self.acknowledges:
                message["ext"] = {"ack": True}  # type: ignore[assignment]
            reply = self.exchange_until_answered(message)
            assert reply["successful"], reply
            assert bool(reply.get("ext", {}).get("ack")) is self.acknowledges, reply
            self.session_id, self._seen = reply["clientId"], -1
            if self.subscribe():
                break
        self.ready.set()

    def subscribe(self) -> bool:
        """Subscribe; return whether the session still exists."""
        return self.change("/meta/subscribe")

    def change(self, channel: str) -> bool:
        """Subscribe or unsubscribe; return whether the session still exists."""
        reply = self.exchange_until_answered(
            {
                "channel": channel,
                "clientId": self.session_id,
                "subscription": self.subscription,
            }
        )
        lost = refused(reply, 402)
        assert reply["successful"] or lost, reply
        return not lost

    def connect(self) -> bool:
        """Connect; handshake if the session is lost, and return whether it was not."""
        message: dict[str, Any] = {
            "channel": "/meta/connect",
            "clientId": self.session_id,
            "connectionType": self.connection_type,
        }
        if self.acknowledges:
            message["ext"] = {"ack": self._seen}
        reply = self.exchange(message)
        if reply is None:
            return True
        if lost := refused(reply, 402):
            self.handshake()
        else:
            self._seen = reply.get("ext", {}).get("ack", self._seen)
        if not reply["successful"]:
            time.sleep(0.1)
        return not lost

    def disconnect(self) -> None:
        """End the session."""
        message = {"channel": "/meta/disconnect", "clientId": self.session_id}
        self.exchange_until_answered(message)
        self.close()

    def work(self) -> None:
        self.handshake()
        while END not in self.received[-50:]:
            self.connect()


class SocketSubscriber(Subscriber):
    """Receives over a WebSocket; connects to any node when it breaks."""

    connection_type = "websocket"
    _socket: WebSocket | None = None

    def post(self, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return everything up to the answer, or up to the end of the connection."""
        came: list[dict[str, Any]] = []
        try:
            if self._socket is None:
                self._socket = WebSocket(self.next_port(), self.timeout)
            self._socket.send(json.dumps([message]).encode())
            while not any(item["channel"] == message["channel"] for item in came):
                came += json.loads(self._socket.receive())
        except OSError:
            self.broken += 1
            self.close()
            time.sleep(0.05)
            return came or None
        return came

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
