"""Clients that record what they receive; each request may go to another node."""

import http.client
import json
import random
import threading
import time
from typing import Any

from tests.chaos.websocket import WebSocket

END = "end"


class Client(threading.Thread):
    """Sends each request to one of ``ports``, chosen at random."""

    timeout = 20.0
    """Seconds to wait for an answer."""

    def __init__(self, ports: list[int], seed: int) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.ports = ports
        self.broken = 0
        self.failure: BaseException | None = None

    def post(self, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return the replies, or None if it is unknown whether they were sent."""
        port = self.random.choice(self.ports)
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

    def post_until_answered(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        """Repeat a request until its answer is another one than 503."""
        while True:
            answer = self.post(message)
            if answer is not None and "503" not in str(answer[-1].get("error")):
                return answer
            time.sleep(0.05)

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

    def work(self) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            answer = self.post({"channel": "/chaos/numbers", "data": number})
            known = answer is not None and answer[-1].get("successful")
            (self.confirmed if known else self.unknown).append(number)
            time.sleep(self.pause)
        while True:
            answer = self.post({"channel": "/chaos/numbers", "data": END})
            if answer is not None and answer[-1].get("successful"):
                return


class Subscriber(Client):
    """Receives messages until ``END``, optionally with CometD's acknowledgements."""

    connection_type = "long-polling"

    def __init__(self, ports: list[int], seed: int, *, acknowledges: bool) -> None:
        super().__init__(ports, seed)
        self.acknowledges = acknowledges
        self.ready = threading.Event()
        self.received: list[Any] = []
        self.handshakes = 0
        self._session = ""
        self._seen = -1

    def handshake(self) -> None:
        self.handshakes += 1
        message = {
            "channel": "/meta/handshake",
            "version": "1.0",
            "supportedConnectionTypes": [self.connection_type],
        }
        if self.acknowledges:
            message["ext"] = {"ack": True}  # type: ignore[assignment]
        reply = self.post_until_answered(message)[-1]
        assert reply["successful"], reply
        assert bool(reply.get("ext", {}).get("ack")) is self.acknowledges, reply
        self._session, self._seen = reply["clientId"], -1
        reply = self.post_until_answered(
            {
                "channel": "/meta/subscribe",
                "clientId": self._session,
                "subscription": "/chaos/*",
            }
        )[-1]
        assert reply["successful"], reply
        self.ready.set()

    def work(self) -> None:
        self.handshake()
        while END not in self.received[-50:]:
            message: dict[str, Any] = {
                "channel": "/meta/connect",
                "clientId": self._session,
                "connectionType": self.connection_type,
            }
            if self.acknowledges:
                message["ext"] = {"ack": self._seen}
            answer = self.post(message)
            if answer is None:
                continue
            for item in answer:
                if item["channel"] == "/meta/connect":
                    if "402" in str(item.get("error")):
                        self.handshake()
                    self._seen = item.get("ext", {}).get("ack", self._seen)
                    if not item["successful"]:
                        time.sleep(0.1)
                else:
                    self.received.append(item["data"])


class SocketSubscriber(Subscriber):
    """Receives over a WebSocket; connects to any node when it breaks."""

    connection_type = "websocket"
    _socket: WebSocket | None = None

    def post(self, message: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Return everything up to the answer, or up to the end of the connection."""
        came: list[dict[str, Any]] = []
        try:
            if self._socket is None:
                self._socket = WebSocket(self.random.choice(self.ports), self.timeout)
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
