"""All transports with the real server and the memory engine."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from txbayeux.adapter.resource import BayeuxResource
from txbayeux.engine.memory import MemoryEngine
from txbayeux.extension import Extension
from txbayeux.server import Server

from .sockets import CLOSE, TEXT, Client, frame
from .support import Answer, Service, request
from .test_eventsource import chunks, open_stream


class RealService(Service):
    """A service whose processor is the real one."""

    def __init__(self, *extensions: object) -> None:
        super().__init__()
        self.server = Server(MemoryEngine(self.clock), extensions=extensions)
        self.server.start()
        self.resource = BayeuxResource(self.server, self.clock)
        self.site.resource.putChild(b"bayeux", self.resource)
        if self.factory is not self.site:
            self.factory.handler = self.resource

    def handshake(self) -> str:
        answer = self.post(
            {
                "channel": "/meta/handshake",
                "version": "1.0",
                "supportedConnectionTypes": ["long-polling"],
            }
        )
        session: str = answer.json()[0]["clientId"]
        return session

    def subscribe(self, session: str, channel: str = "/a") -> None:
        answer = self.post(meta("subscribe", session, subscription=channel))
        assert answer.json()[0]["successful"] is True

    def publish(self, data: Any, channel: str = "/a") -> None:
        answer = self.post({"channel": channel, "data": data})
        assert answer.json()[0]["successful"] is True


def meta(name: str, session: str, **fields: Any) -> dict[str, Any]:
    return {"channel": f"/meta/{name}", "clientId": session, **fields}


def connect(session: str, kind: str = "long-polling", **fields: Any) -> dict[str, Any]:
    return meta("connect", session, connectionType=kind, **fields)


def poll(session: str) -> bytes:

    return request(
        "POST",
        body=json.dumps(connect(session)).encode(),
        content_type="application/json",
    )


@pytest.fixture
def service() -> Iterator[RealService]:
    real = RealService()
    yield real
    real.server.stop()
    real.resource.close()


def test_long_polling(service: RealService) -> None:
    session = service.handshake()
    service.subscribe(session)
    transport = service.send(poll(session))
    assert transport.value() == b""
    service.publish(1)
    service.clock.advance(0)
    messages = Answer(transport.value()).json()
    assert messages[0] == {"channel": "/a", "data": 1}
    assert messages[1]["channel"] == "/meta/connect"


def test_a_message_published_after_the_client_left_waits_for_it(
    service: RealService,
) -> None:
    session = service.handshake()
    service.subscribe(session)
    service.send(poll(session)).lose()
    service.publish(1)
    service.clock.advance(0)
    transport = service.send(poll(session))
    service.clock.advance(0)
    assert Answer(transport.value()).json()[0] == {"channel": "/a", "data": 1}


def test_websocket(service: RealService) -> None:
    session = service.handshake()
    client = Client(service)
    client.send([connect(session, "websocket", advice={"timeout": 0})])
    client.send([connect(session, "websocket")])
    client.send([meta("subscribe", session, subscription="/a/*", id="3")])
    service.clock.advance(0)
    assert [message[0]["channel"] for message in client.messages()] == [
        "/meta/connect",
        "/meta/subscribe",
    ]
    service.publish(1, "/a/b")
    service.publish(2, "/a/b")
    assert client.messages() == []
    service.clock.advance(0)
    assert client.messages() == [
        [{"channel": "/a/b", "data": 1}],
        [{"channel": "/a/b", "data": 2}],
    ]


def test_a_socket_that_closes_leaves_the_session_alive(service: RealService) -> None:
    session = service.handshake()
    service.subscribe(session)
    client = Client(service)
    client.send([connect(session, "websocket")])
    client.transport.lose()
    service.publish(1)
    transport = service.send(poll(session))
    service.clock.advance(0)
    assert Answer(transport.value()).json()[0] == {"channel": "/a", "data": 1}


class Unchanging(Extension):
    """An extension for which each message is written anew."""

    def outgoing(self, message: Any, request: object) -> Any:
        return message


@pytest.mark.parametrize("extensions", [(), (Unchanging(),)], ids=["plain", "extended"])
@pytest.mark.parametrize("kind", ["websocket", "eventsource"])
def test_messages_wait_when_a_client_closes_behind_its_request(
    kind: str, extensions: tuple[object, ...]
) -> None:
    service = RealService(*extensions)
    session = service.handshake()
    service.subscribe(session)
    service.publish(1)
    service.publish(2)
    ours, theirs = socket.socketpair()
    theirs.close()  # which the reactor reads only in its next turn
    if kind == "websocket":
        client = Client(service)
        transport: Any = client.transport
        transport.getHandle = lambda: ours
        client.send([connect(session, kind)])
    else:
        transport = service.connect()
        transport.getHandle = lambda: ours
        data = request(path=f"/bayeux/{session}", accept="text/event-stream")
        transport.protocol.dataReceived(data)
    service.clock.advance(0)
    service.clock.advance(0)
    assert b'"data"' not in transport.value()
    transport.lose()
    ours.close()
    answer = service.post(connect(session, advice={"timeout": 0}))
    assert [item["data"] for item in answer.json() if "data" in item] == [1, 2]


def test_a_client_that_does_not_keep_up_gets_the_rest_later(
    service: RealService,
) -> None:
    session = service.handshake()
    service.subscribe(session)
    client = Client(service)
    client.send([connect(session, "websocket")])
    producer = client.transport.producer
    assert producer is not None
    producer.pauseProducing()
    service.publish(1)
    service.clock.advance(0)
    assert client.messages() == []
    producer.resumeProducing()
    service.clock.advance(0)
    assert client.messages() == [[{"channel": "/a", "data": 1}]]


def test_a_disconnect_over_a_socket_is_answered_and_closes_it(
    service: RealService,
) -> None:
    session = service.handshake()
    client = Client(service)
    client.send([connect(session, "websocket")])
    client.send([meta("disconnect", session)])
    service.clock.advance(0)
    frames = client.frames()
    assert frames[-1] == (CLOSE, b"\x03\xe8")
    assert {first for first, _ in frames[:-1]} == {TEXT}
    assert b"/meta/disconnect" in b"".join(payload for _, payload in frames)


def test_eventsource(service: RealService) -> None:
    session = service.handshake()
    service.subscribe(session)
    transport = open_stream(service, session)
    transport.clear()
    reply = service.post(connect(session, "eventsource")).json()[0]
    assert reply["advice"]["timeout"] == 0
    service.publish(1)
    service.clock.advance(0)
    assert chunks(transport.value()) == b'data: [{"channel":"/a","data":1}]\r\n\r\n'
    service.post(meta("disconnect", session))
    assert transport.value().endswith(b"0\r\n\r\n")
    assert Answer(open_stream(service, session).value()).code == 404


def test_publishing_by_post_while_a_socket_is_open(service: RealService) -> None:
    session = service.handshake()
    client = Client(service)
    client.send([connect(session, "websocket")])
    service.subscribe(session)
    answer = service.post({"channel": "/a", "data": 1, "clientId": session})
    assert answer.json()[0]["successful"] is True
    service.clock.advance(0)
    assert client.messages() == [[{"channel": "/a", "data": 1}]]


def test_stopping_answers_held_connects_and_closes_sockets(
    service: RealService,
) -> None:
    session, other = service.handshake(), service.handshake()
    transport = service.send(poll(session))
    client = Client(service)
    client.send([connect(other, "websocket")])
    service.server.stop()
    closed = service.resource.close()
    assert Answer(transport.value()).json()[0]["channel"] == "/meta/connect"
    frames = client.frames()
    assert frames[-1] == (CLOSE, b"\x03\xe9")
    assert b"/meta/connect" in frames[0][1]
    client.raw(frame(CLOSE, b"\x03\xe9"))
    client.transport.lose()
    assert closed.called
