"""The server: takes messages from adapters, returns replies, calls the engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, cast

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    ensureDeferred,
    gatherResults,
    succeed,
)
from twisted.internet.task import Clock
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
from txbayeux.events import Disconnected, Events, Reason, Unsubscribed
from txbayeux.extension import Extension, Pipeline
from txbayeux.interfaces import Delivery, Engine, Request, Stream
from txbayeux.message import Entry, Message
from txbayeux.peer_limits import EVERYBODY, PeerLimits, PeerRegistry
from txbayeux.processor import Processor, Response
from txbayeux.registration import Registration
from txbayeux.server.calls import CallFunction, answer_calls
from txbayeux.server.connect import answer_connect, connect
from txbayeux.server.context import (
    Operation,
    PendingConnect,
    RequestContext,
    Result,
    ServerContext,
)
from txbayeux.server.disconnect import disconnect
from txbayeux.server.handshake import handshake
from txbayeux.server.local import LocalClient
from txbayeux.server.options import ServerOptions
from txbayeux.server.publish import must_wait, publish
from txbayeux.server.replies import default_advice, refusal
from txbayeux.server.responses import Answer, Responder
from txbayeux.server.service_channels import ServiceChannels
from txbayeux.server.subscribe import emit_subscriptions, subscribe, unsubscribe

__all__ = ["Server"]

_META: Final[Mapping[str, Operation]] = {
    channels.HANDSHAKE: handshake,
    channels.CONNECT: connect,
    channels.SUBSCRIBE: subscribe,
    channels.UNSUBSCRIBE: unsubscribe,
    channels.DISCONNECT: disconnect,
}

_NEVER_ADDED: Final = frozenset(
    {"channel", "data", "id", "clientId", "successful", "error"}
)
"""Fields that an extension cannot add to what subscribers get."""

_PUBLISHER_FIELDS: Final = frozenset({"ext", "advice"})
"""Objects of the publisher, of which subscribers get only what an extension adds."""

_Pending: TypeAlias = PendingConnect | Deferred[Any]
"""An answer to come: a connect that is held, or a Deferred that never fails."""

_log: Final = Logger()


class Server:
    """A Bayeux server, used by adapters and by clients in the same process.

    It is the :class:`~txbayeux.interfaces.SessionObserver` of its engine.

    :param extensions: in the order in which they are called.
    :param peers: limits what each peer and session may do; by default nothing does.
    :raises TypeError: for an invalid extension
        (:func:`~txbayeux.extension.check_extension`).
    """

    def __init__(
        self,
        engine: Engine,
        *,
        options: ServerOptions | None = None,
        extensions: Sequence[Extension] = (),
        peers: PeerRegistry | None = None,
    ) -> None:
        self.events = Events()
        self.options = options or ServerOptions()
        # Where nobody is limited, time does not matter.
        self._peers = peers or PeerRegistry(PeerLimits(unlimited=EVERYBODY), Clock())
        self._context = ServerContext(
            engine,
            self.options,
            self.events,
            ServiceChannels(),
            self._peers,
            default_advice(self.options),
            channels.GRAMMARS[self.options.channel_names],
        )
        engine.hub.call_when_gone(self._peers.session_gone)
        self._incoming = Pipeline("incoming", extensions)
        self._responder = Responder(Pipeline("outgoing", extensions), engine)
        for extension in extensions:
            extension.installed(self)

    def start(self) -> Deferred[None]:
        """Start the engine; called once, before anything else."""
        return self._context.engine.start(self)

    def stop(self) -> Deferred[None]:
        """Stop the engine: see :meth:`txbayeux.interfaces.Engine.stop`."""
        return self._context.engine.stop()

    def client(self) -> LocalClient:
        """Return a client that publishes and subscribes in this process."""
        context = self._context
        return LocalClient(self, context.engine, context.services, context.names)

    def on_call(self, name: str, function: CallFunction) -> Registration:
        """Answer CometD's ``remoteCall(name, data)`` with what ``function`` returns.

        ``function`` is called with each message on ``/service`` and ``name``, which
        may be a pattern; it must not change the message.  The caller's session is the
        message's ``clientId``, and the answer goes to that session only, on whichever
        process it is; a message without session is ignored.  What the function
        returns, also through a Deferred or as a coroutine, is the ``data`` of the
        answer.  It may raise :exc:`~txbayeux.errors.CallError` to answer with a
        failure; any other exception is logged, and the client gets
        ``{"message": "Internal server error"}``.

        :raises ValueError: if ``name`` does not begin with a slash.
        :raises BayeuxError: 405 if ``/service`` and ``name`` are neither a channel
            name nor a pattern.
        """
        return answer_calls(self.client(), name, function)

    def unsubscribe(self, session_id: str, channel: str) -> Deferred[bool]:
        """End one subscription of a session, to exactly this name or pattern.

        Fires with whether there was one.  The protocol has no way to tell the client,
        which may subscribe again; an extension can refuse that.

        Fails with :class:`~txbayeux.errors.UnknownSession`.
        """

        def changed(names: Sequence[str]) -> bool:
            emit_subscriptions(self.events, Unsubscribed, session_id, names)
            return bool(names)

        ended = self._context.engine.unsubscribe(session_id, [channel])
        return ended.addCallback(changed)

    def kick(self, session_id: str, why: str = "Session closed") -> Deferred[None]:
        """End a session.

        Fails with :class:`~txbayeux.errors.UnknownSession`.

        :param why: the text of the error 402 that its client gets.
        """
        return self._context.engine.destroy_session(session_id, Reason.KICKED, why)

    def statistics(self) -> Mapping[str, int]:
        """Return the engine's numbers, and how often limits of peers refused.

        See :meth:`txbayeux.interfaces.Engine.statistics`.
        """
        return {**self._context.engine.statistics(), **self._peers.statistics()}

    def ready(self) -> bool:
        """See :meth:`txbayeux.interfaces.Engine.ready`."""
        return self._context.engine.ready()

    # Called by adapters

    def process(
        self,
        messages: Sequence[Any],
        request: Request | None,
        stream: Stream | None = None,
    ) -> Deferred[Response]:
        """See :meth:`txbayeux.processor.Processor.process`."""
        if len(messages) > 1:
            messages = _handshake_alone(messages)
        peer = None if request is None else self._peers.key(request.peer)
        context = RequestContext(request, stream, len(messages) == 1, peer)
        hub = self._context.engine.hub
        if context.alone and self._incoming.empty and not hub.busy:
            # The usual case: a poll takes 1.3 % fewer instructions this way.
            answer = self._answer(messages[0], messages[0], context)
            return self._respond_to_one(answer, request)
        answers: list[Answer | _Pending] = []
        remaining = iter(messages)
        for message in remaining:
            passed = self._run_incoming(message, request)
            # isinstance() is slow where it is not one: Deferred is an abstract class.
            if hub.busy or (passed is not message and isinstance(passed, Deferred)):
                rest = self._process_later(passed, message, remaining, context, answers)
                return ensureDeferred(rest).addCallback(self._respond, context)
            answers.append(self._answer(passed, message, context))
        return self._respond(answers, context)

    def wrap_stream(self, stream: Stream, request: Request) -> Stream:
        """See :meth:`txbayeux.processor.Processor.wrap_stream`."""
        return self._responder.wrap_stream(stream, request)

    def attach(self, session_id: str, stream: Stream) -> Deferred[None]:
        """See :meth:`txbayeux.processor.Processor.attach`."""
        return self._context.engine.attach(session_id, stream)

    def detach(self, stream: Stream, unsent: Sequence[Entry] = ()) -> None:
        """See :meth:`txbayeux.processor.Processor.detach`."""
        self._responder.detach(stream, unsent)

    def resume(self, stream: Stream) -> None:
        """See :meth:`txbayeux.processor.Processor.resume`."""
        self._responder.resume(stream)

    # Called by the engine

    def session_closed(
        self, session_id: str, reason: Reason, channels: Collection[str] = ()
    ) -> None:
        """See :meth:`txbayeux.interfaces.SessionObserver.session_closed`."""
        if self.events.has_listeners(Unsubscribed):
            emit_subscriptions(self.events, Unsubscribed, session_id, sorted(channels))
        if self.events.has_listeners(Disconnected):
            self.events.emit(Disconnected(session_id, reason))

    # From a message to its answer

    def _run_incoming(self, message: Any, request: Request | None) -> Any:
        """Pass a copy of the message through the incoming extensions."""
        if (
            self._incoming.empty
            or not isinstance(message, dict)
            or not self._incoming.applies_to(message.get("channel"))
        ):
            return message
        copy = {
            name: dict(value)
            if name in _PUBLISHER_FIELDS and isinstance(value, dict)
            else value
            for name, value in message.items()
            if name != "error"
        }
        return self._incoming.run(copy, request)

    async def _process_later(
        self,
        passed: Any,
        message: Any,
        remaining: Iterator[Any],
        context: RequestContext,
        answers: list[Answer | _Pending],
    ) -> list[Answer | _Pending]:
        """Process the rest of a request in order, and wait where that is necessary.

        For an extension, and for a later reactor turn if much is to be delivered.
        """
        await self._process_one(passed, message, context, answers)
        for following in remaining:
            passed = self._run_incoming(following, context.request)
            await self._process_one(passed, following, context, answers)
        return answers

    async def _process_one(
        self,
        passed: Any,
        original: Any,
        context: RequestContext,
        answers: list[Answer | _Pending],
    ) -> None:
        message = await passed if isinstance(passed, Deferred) else passed
        while must_wait(self._context, message, context):
            await self._context.engine.hub.next_turn()
        answers.append(self._answer(message, original, context))

    def _answer(
        self, message: Any, original: Any, context: RequestContext
    ) -> Answer | _Pending:
        """Process one message, as the incoming extensions returned it."""
        if message is None and original is not None:
            return None
        try:
            result = self._operate(message, original, context)
        except Exception:
            return _refused(Failure(), message)
        if isinstance(result, dict):
            return result
        if isinstance(result, PendingConnect):
            if context.alone and not result.delivery.called:
                return result
            answered = result.delivery.addCallback(
                partial(answer_connect, self._context, message)
            )
        else:
            answered = cast(Deferred[Any], result)
        done = answered.called and isinstance(answered.result, dict)
        if not done:  # A callback takes 1 µs.
            answered.addErrback(_refused, message)
            done = answered.called and not isinstance(answered.result, Deferred)
        return cast(Answer, answered.result) if done else answered

    def _operate(self, message: Any, original: Any, context: RequestContext) -> Result:
        if not isinstance(message, dict):
            raise bad_request("A message is a JSON object")
        channel = message.get("channel")
        if channel is None:
            raise missing_parameter("channel")
        if not isinstance(channel, str):
            raise wrong_parameter("channel")
        if message is not original and (error := message.get("error")):
            advice = _added(message, original).get("advice")
            return refusal(message, str(error), advice)
        operation = _META.get(channel)
        if operation is not None:
            if context.peer is not None:
                self._peers.admit_message(context.peer, message.get("clientId"))
            return operation(self._context, message, context)
        if not channels.is_reserved(channel):
            added = {} if message is original else _added(message, original)
            return publish(self._context, message, context, added)
        if self._context.names.is_name(channel):
            raise channel_forbidden(channel)
        raise channel_invalid(channel)

    # From answers to the response

    def _respond(
        self, answers: Sequence[Answer | _Pending], context: RequestContext
    ) -> Deferred[Response]:
        if context.alone:  # the usual case: gatherResults costs 5 µs
            return self._respond_to_one(answers[0], context.request)
        # The operations have begun in order: the connection may go on reading.
        if not any(isinstance(answer, Deferred) for answer in answers):
            ready = cast(Sequence[Answer], answers)
            return _fired(self._responder.response(ready, context.request))
        gathered = gatherResults(
            [
                answer if isinstance(answer, Deferred) else succeed(answer)
                for answer in answers
            ]
        )
        held: Deferred[Response] = gathered.addCallback(
            self._responder.response, context.request
        )
        return succeed(Response((), held))

    def _respond_to_one(
        self, answer: Answer | _Pending, request: Request | None
    ) -> Deferred[Response]:
        held: Deferred[Response]
        # A dict is the usual case.
        if isinstance(answer, dict) or not isinstance(
            answer, PendingConnect | Deferred
        ):
            return _fired(self._responder.response_to_one(answer, request))
        if isinstance(answer, PendingConnect):
            arguments = (answer.message, request)
            delivery: Deferred[Any] = answer.delivery
            held = delivery.addCallbacks(
                self._respond_to_connect,
                self._refuse_connect,
                callbackArgs=arguments,
                errbackArgs=arguments,
            )
        else:
            held = answer.addCallback(self._responder.response_to_one, request)
        return succeed(Response((), held))

    def _respond_to_connect(
        self, delivery: Delivery, message: Message, request: Request | None
    ) -> Response | Deferred[Response]:
        try:
            answer = answer_connect(self._context, message, delivery)
        except Exception:
            return self._refuse_connect(Failure(), message, request)
        return self._responder.response_to_one(answer, request)

    def _refuse_connect(
        self, failure: Failure, message: Message, request: Request | None
    ) -> Response | Deferred[Response]:
        return self._responder.response_to_one(_refused(failure, message), request)


def _fired(response: Response | Deferred[Response]) -> Deferred[Response]:
    return succeed(response) if isinstance(response, Response) else response


def _handshake_alone(messages: Sequence[Any]) -> Sequence[Any]:
    """Return the handshake among the messages alone, or all if there is none.

    "A server MUST ignore any other message sent in the same request as a
    handshake message" (Bayeux specification, "Handshake Request").
    """
    for message in messages:
        if isinstance(message, dict) and message.get("channel") == channels.HANDSHAKE:
            return [message]
    return messages


def _added(message: Message, original: Message) -> Message:
    """Return the fields that extensions added or replaced."""
    added: Message = {}
    for name, value in message.items():
        if name in _NEVER_ADDED or (name in original and original[name] == value):
            continue
        if name not in _PUBLISHER_FIELDS or name not in original:
            added[name] = value
        elif new := _added_items(value, original[name]):
            added[name] = new
    return added


def _added_items(value: Any, original: Any) -> Any:
    """Return what extensions put into one of the publisher's objects."""
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
        _log.failure("Processing a message failed", failure)
        error = server_error()
    return refusal(message, error)


_: type[Processor] = Server
