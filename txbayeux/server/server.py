"""The server: requests in, replies out, the engine below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    succeed,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux import channel as channels
from txbayeux.errors import (
    BayeuxError,
    bad_request,
    channel_forbidden,
    channel_invalid,
    missing_parameter,
    server_error,
    wrong_parameter,
)
from txbayeux.events import Disconnected, Events, Reason
from txbayeux.extension import Extension, Pipeline
from txbayeux.interfaces import Delivery, Engine, Request, Stream
from txbayeux.message import Entry, Message
from txbayeux.protocol import Processor, Response
from txbayeux.server.connect import connect, connected
from txbayeux.server.context import (
    ConnectAnswer,
    Exchange,
    Operation,
    PendingConnect,
    ServerContext,
)
from txbayeux.server.disconnect import disconnect
from txbayeux.server.handshake import handshake
from txbayeux.server.local import LocalClient
from txbayeux.server.options import ServerOptions
from txbayeux.server.publish import publish
from txbayeux.server.replies import advice, refusal
from txbayeux.server.responses import Outgoing
from txbayeux.server.services import ServiceChannels
from txbayeux.server.subscribe import subscribe, unsubscribe

__all__ = ["Server"]

_OPERATIONS: Final[Mapping[str, Operation]] = {
    channels.HANDSHAKE: handshake,
    channels.CONNECT: connect,
    channels.SUBSCRIBE: subscribe,
    channels.UNSUBSCRIBE: unsubscribe,
    channels.DISCONNECT: disconnect,
}

_PRIVATE: Final = frozenset(
    {"channel", "data", "id", "clientId", "successful", "error"}
)
"""Fields that an extension cannot add to what subscribers get."""

_PUBLISHERS: Final = frozenset({"ext", "advice"})
"""Fields of the publisher's, of which subscribers get what an extension adds."""

_Slot: TypeAlias = Message | ConnectAnswer | None
"""What one message of a request comes to; None if an extension dropped it."""

_Later: TypeAlias = PendingConnect | Deferred[Any]
"""What comes to one: a connect that is held, or a Deferred that never fails."""

_log: Final = Logger()


class Server:
    """A Bayeux server, to be reached through adapters or in the process.

    It is the :class:`~txbayeux.interfaces.SessionObserver` of its engine.

    :param extensions: see :mod:`txbayeux.extension`; in this order, both ways.
    :raises TypeError: for one that is none.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        options: ServerOptions | None = None,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self.events = Events()
        self.options = options or ServerOptions()
        self._core = ServerContext(
            engine,
            self.options,
            self.events,
            ServiceChannels(),
            advice(self.options),
        )
        self._incoming = Pipeline("incoming", extensions)
        self._outgoing = Outgoing(Pipeline("outgoing", extensions), engine)
        for extension in extensions:
            extension.installed(self)

    # The process

    def start(self) -> Deferred[None]:
        """Start the engine; to be called once, before anything else."""
        return self._core.engine.start(self)

    def stop(self) -> Deferred[None]:
        """Answer held connects, end what lives in this process, stop the engine."""
        return self._core.engine.stop()

    def client(self) -> LocalClient:
        """Give a way to publish and subscribe in this process, without a network."""
        return LocalClient(self, self._core.engine, self._core.services)

    def kick(self, session_id: str, why: str = "Session closed") -> Deferred[None]:
        """End a session; ``why`` is told to its client at its return.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """
        return self._core.engine.destroy_session(session_id, Reason.KICKED, why)

    def statistics(self) -> Mapping[str, int]:
        """See :meth:`txbayeux.interfaces.Engine.statistics`."""
        return self._core.engine.statistics()

    def ready(self) -> bool:
        """See :meth:`txbayeux.interfaces.Engine.ready`."""
        return self._core.engine.ready()

    # What adapters call

    def process(
        self,
        messages: Sequence[Any],
        request: Request | None,
        stream: Stream | None = None,
    ) -> Deferred[Response]:
        """See :meth:`txbayeux.protocol.Processor.process`."""
        if len(messages) > 1:
            messages = _without_companions(messages)
        exchange = Exchange(request, stream, len(messages) == 1)
        slots: list[_Slot | _Later] = []
        remaining = iter(messages)
        for message in remaining:
            admitted = self._admit(message, request)
            if isinstance(admitted, Deferred):
                slow = self._process_slowly(
                    admitted, message, remaining, exchange, slots
                )
                return ensureDeferred(slow).addCallback(self._respond, exchange)
            slots.append(self._perform(admitted, message, exchange))
        return self._respond(slots, exchange)

    def wrap_stream(self, stream: Stream, request: Request) -> Stream:
        """See :meth:`txbayeux.protocol.Processor.wrap_stream`."""
        return self._outgoing.wrap_stream(stream, request)

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """See :meth:`txbayeux.protocol.Processor.attach`."""
        return self._core.engine.attach(session_id, stream)

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """See :meth:`txbayeux.protocol.Processor.detach`."""
        self._outgoing.detach(stream, unsent)

    def resume(self, stream: Stream) -> None:
        """See :meth:`txbayeux.protocol.Processor.resume`."""
        self._outgoing.resume(stream)

    # What the engine calls

    def session_closed(self, session_id: str, reason: Reason) -> None:
        """See :meth:`txbayeux.interfaces.SessionObserver.session_closed`."""
        if self.events.heard(Disconnected):
            self.events.emit(Disconnected(session_id, reason))

    # In

    def _admit(self, message: Any, request: Request | None) -> Any:
        """Pass a message through the incoming extensions, which get a copy."""
        if (
            self._incoming.empty
            or not isinstance(message, dict)
            or not self._incoming.applies_to(message.get("channel"))
        ):
            return message
        own = {
            name: dict(value)
            if name in _PUBLISHERS and isinstance(value, dict)
            else value
            for name, value in message.items()
            if name != "error"
        }
        return self._incoming.run(own, request)

    async def _process_slowly(
        self,
        admitted: Deferred[Message | None],
        message: Any,
        remaining: Iterator[Any],
        exchange: Exchange,
        slots: list[_Slot | _Later],
    ) -> list[_Slot | _Later]:
        """Go on where an extension takes its time: the others wait their turn."""
        slots.append(self._perform(await admitted, message, exchange))
        for following in remaining:
            outcome = self._admit(following, exchange.request)
            passed = await outcome if isinstance(outcome, Deferred) else outcome
            slots.append(self._perform(passed, following, exchange))
        return slots

    def _perform(
        self, message: Any, original: Any, exchange: Exchange
    ) -> _Slot | _Later:
        """Do what a message asks; give the answer, or what will come to it."""
        if message is None and original is not None:
            return None
        try:
            outcome = self._operate(message, original, exchange)
        except Exception:
            return _refused(Failure(), message)
        if isinstance(outcome, PendingConnect):
            if exchange.alone and not outcome.delivery.called:
                return outcome
            outcome = outcome.delivery.addCallback(self._connected, message)
        if not isinstance(outcome, Deferred):
            return cast(_Slot, outcome)
        outcome.addErrback(_refused, message)
        if outcome.called and not isinstance(outcome.result, Deferred):
            return cast(_Slot, outcome.result)
        return outcome

    def _operate(self, message: Any, original: Any, exchange: Exchange) -> Any:
        if not isinstance(message, dict):
            raise bad_request("A message is a JSON object")
        channel = message.get("channel")
        if channel is None:
            raise missing_parameter("channel")
        if not isinstance(channel, str):
            raise wrong_parameter("channel")
        error = message.get("error")
        if error and message is not original:
            given = _added(message, original).get("advice")
            return refusal(message, str(error), given)
        operation = _OPERATIONS.get(channel)
        if operation is not None:
            return operation(self._core, message, exchange)
        if not channels.is_reserved(channel):
            added = {} if message is original else _added(message, original)
            return publish(self._core, message, exchange, added)
        raise (channel_forbidden if channels.is_name(channel) else channel_invalid)(
            channel
        )

    # Out

    def _respond(
        self, slots: Sequence[_Slot | _Later], exchange: Exchange
    ) -> Deferred[Response]:
        if exchange.alone:  # nearly always; to gather one costs 5 µs
            return self._respond_alone(slots[0], exchange.request)
        # What is not there yet was begun in order; the connection need not wait for it.
        if not any(isinstance(slot, Deferred) for slot in slots):
            return self._respond_now(cast(Sequence[_Slot], slots), exchange.request)
        answers = gatherResults(
            [slot if isinstance(slot, Deferred) else succeed(slot) for slot in slots]
        )
        held: Deferred[Response] = answers.addCallback(
            self._outgoing.response, exchange.request
        )
        return succeed(Response((), held))

    def _respond_now(
        self, slots: Sequence[_Slot], request: Request | None
    ) -> Deferred[Response]:
        response = self._outgoing.response(slots, request)
        return response if isinstance(response, Deferred) else succeed(response)

    def _respond_alone(
        self, slot: _Slot | _Later, request: Request | None
    ) -> Deferred[Response]:
        held: Deferred[Response]
        if isinstance(slot, PendingConnect):
            asked = (slot.message, request)
            held = cast(Any, slot.delivery).addCallbacks(
                self._delivered,
                self._not_delivered,
                callbackArgs=asked,
                errbackArgs=asked,
            )
        elif isinstance(slot, Deferred):
            held = slot.addCallback(self._respond_with, request)
        else:
            return self._respond_now((slot,), request)
        return succeed(Response((), held))

    def _respond_with(
        self, slot: _Slot, request: Request | None
    ) -> Response | Deferred[Response]:
        return self._outgoing.response((slot,), request)

    def _delivered(
        self, delivery: Delivery, message: Message, request: Request | None
    ) -> Response | Deferred[Response]:
        try:
            answer = self._connected(delivery, message)
        except BayeuxError:
            return self._not_delivered(Failure(), message, request)
        return self._outgoing.response((answer,), request)

    def _not_delivered(
        self, failure: Failure, message: Message, request: Request | None
    ) -> Response | Deferred[Response]:
        return self._outgoing.response((_refused(failure, message),), request)

    def _connected(self, delivery: Delivery, message: Message) -> ConnectAnswer:
        return connected(self._core, message, delivery)


def _without_companions(messages: Sequence[Any]) -> Sequence[Any]:
    """Keep only the handshake, if there is one.

    "A server MUST ignore any other message sent in the same request as a
    handshake message" (Bayeux specification, "Handshake Request").
    """
    for message in messages:
        if isinstance(message, dict) and message.get("channel") == channels.HANDSHAKE:
            return [message]
    return messages


def _added(message: Message, original: Message) -> Message:
    """Find the fields that extensions added or put something new into."""
    added: Message = {}
    for name, value in message.items():
        if name in _PRIVATE or (name in original and original[name] == value):
            continue
        if name not in _PUBLISHERS or name not in original:
            added[name] = value
        elif new := _new(value, original[name]):
            added[name] = new
    return added


def _new(value: Any, original: Any) -> Any:
    """Find what an extension put into an object; the rest is the publisher's."""
    if not isinstance(value, dict) or not isinstance(original, dict):
        return value
    return {
        name: item
        for name, item in value.items()
        if name not in original or original[name] != item
    }


def _refused(failure: Failure, message: Any) -> Message | None:
    error = failure.value
    if isinstance(error, CancelledError):
        return None
    if not isinstance(error, BayeuxError):
        _log.failure("Handling a message failed", failure)
        error = server_error()
    return refusal(message, error)


_: type[Processor] = Server
