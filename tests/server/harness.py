"""A server on the memory engine and its clients, called without a network."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from tests.turns import TurnClock
from txbayeux.engine.memory import MemoryEngine
from txbayeux.extension import Extension
from txbayeux.interfaces import Request, Stream
from txbayeux.limits import Limits
from txbayeux.message import Entry, Message
from txbayeux.peer_limits import PeerLimits, PeerRegistry
from txbayeux.processor import Response
from txbayeux.server import Server, ServerOptions
from txbayeux.testing import FakeRequest

TIMEOUT = 45.0
SESSION_TIMEOUT = 60.0


class Harness:
    """A server, its engine and its clock."""

    def __init__(
        self,
        *extensions: Extension,
        limits: Limits | None = None,
        peers: PeerLimits | None = None,
        **options: Any,
    ) -> None:
        self.clock = TurnClock()
        self.engine = MemoryEngine(
            self.clock, limits=limits, session_timeout=SESSION_TIMEOUT
        )
        self.server = Server(
            self.engine,
            options=ServerOptions(timeout=TIMEOUT, **options),
            extensions=extensions,
            peers=None if peers is None else PeerRegistry(peers, self.clock),
        )
        result_of(self.server.start())

    def client(self, *channels: str, handshake: bool = True, **ext: Any) -> "Client":
        client = Client(self)
        if handshake:
            client.handshake(**ext)
        if channels:
            assert client.subscribe(*channels)["successful"]
        return client

    def send(self, *messages: Any, request: Request | None = None) -> list[Message]:
        """Send one request; return the replies, which come at once."""
        response = result_of(self.server.process(messages, request or FakeRequest()))
        assert response.held is None
        return [item for item in messages_of(response.items) if "data" not in item]

    def send_and_wait(self, *messages: Any) -> list[Message]:
        """Send one request; return the replies after some seconds."""
        answers: list[Response] = []
        self.server.process(messages, FakeRequest()).addCallback(answers.append)
        for _ in range(10):
            self.advance(1)
        return messages_of(answers[0].items)

    def advance(self, seconds: float) -> None:
        self.clock.advance(0)
        self.clock.advance(seconds)
        self.clock.advance(0)

    def settle(self) -> None:
        self.advance(0)


class Client:
    """A remote client with a session."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.id = ""
        self.request = FakeRequest()

    def handshake(self, **ext: Any) -> Message:
        reply = self.send(
            "/meta/handshake",
            version="1.0",
            supportedConnectionTypes=["long-polling"],
            **({"ext": ext} if ext else {}),
        )
        self.id = reply.get("clientId", "")
        return reply

    def message(self, channel: str, **fields: Any) -> Message:
        if self.id and "clientId" not in fields:
            fields["clientId"] = self.id
        return {"channel": channel, **fields}

    def process(
        self, *messages: Any, stream: Stream | None = None
    ) -> Deferred[Response]:
        return self.harness.server.process(messages, self.request, stream)

    def send(self, channel: str, **fields: Any) -> Message:
        """Send one message; return its reply, which comes at once."""
        response = result_of(self.process(self.message(channel, **fields)))
        assert response.held is None
        [reply] = messages_of(response.items)
        return reply

    def subscribe(self, *channels: str) -> Message:
        return self.send(
            "/meta/subscribe",
            subscription=channels[0] if len(channels) == 1 else list(channels),
        )

    def publish(self, channel: str, data: object, **fields: Any) -> Message:
        return self.send(channel, data=data, **fields)

    def connect_message(self, **fields: Any) -> Message:
        return self.message(
            "/meta/connect", **{"connectionType": "long-polling", **fields}
        )

    def connect(self, stream: Stream | None = None, **fields: Any) -> "Poll":
        message = self.connect_message(**fields)
        return Poll(self.process(message, stream=stream), self.harness.settle)

    def poll(self) -> list[Any]:
        """Return the data of the queued messages."""
        self.harness.settle()
        return self.connect(advice={"timeout": 0}).data


class Poll:
    """A connect: held, or answered by the end of the reactor turn."""

    def __init__(
        self, answer: Deferred[Response], settle: Callable[[], object]
    ) -> None:
        self._settle = settle
        self.response = result_of(answer)
        assert self.response.held is None or not self.response.items
        self._answers: list[Response] = []
        if self.response.held is None:
            self._answers.append(self.response)
        else:
            self.response.held.addCallback(self._answers.append)

    @property
    def held(self) -> bool:
        return not self._answers

    @property
    def answer(self) -> Response:
        if not self._answers:
            self._settle()
        assert self._answers, "the connect is still held"
        return self._answers[0]

    @property
    def items(self) -> list[Message]:
        return messages_of(self.answer.items)

    @property
    def messages(self) -> list[Message]:
        return [item for item in self.items if "data" in item]

    @property
    def data(self) -> list[Any]:
        return [message["data"] for message in self.messages]

    @property
    def reply(self) -> Message:
        [reply] = [item for item in self.items if item["channel"] == "/meta/connect"]
        return reply


def result_of(deferred: Deferred[Any]) -> Any:
    """Return the result of a Deferred that must have fired."""
    results: list[Any] = []
    deferred.addCallback(results.append)
    assert results, "it has not fired"
    return results[0]


def messages_of(items: Sequence[Message | Entry]) -> list[Message]:
    return [item.message() if isinstance(item, Entry) else item for item in items]
