"""The session: handshake, connect, connect, ..., and recovery from any failure.

What happens is fed to the machine of :mod:`txbayeux.client.state`; this module does
what the new state asks for.  There is one timer, and at most one handshake or connect
in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux import channel as channels
from txbayeux.client import messages
from txbayeux.client.advice import HANDSHAKE, Advice, advises_to_go_on
from txbayeux.client.backoff import DEFAULT_HOLD, ReconnectPolicy
from txbayeux.client.connect import Connect
from txbayeux.client.credentials import Credentials, CredentialsProvider
from txbayeux.client.dispatcher import Dispatcher
from txbayeux.client.envelope import Envelope
from txbayeux.client.errors import RetriesExhausted, reply_error
from txbayeux.client.flow import FlowControl
from txbayeux.client.state import Input, Machine, State
from txbayeux.client.transports import TransportSelector
from txbayeux.errors import BayeuxError
from txbayeux.message import Message
from txbayeux.transport.base import (
    GATEWAY,
    NoReply,
    Transport,
    TransportError,
    TransportUnavailable,
    Unreachable,
)

__all__ = ["Session"]

_log: Final = Logger()

DISCONNECT_SECONDS: Final = 5.0
"""How long the server may take to answer a disconnect."""

MAX_REFUSED_CONNECTS: Final = 3
"""Connects in a row that are refused without advice, before another handshake."""

_AUTHENTICATION: Final = frozenset({401, 403})
_INCOMPATIBLE: Final = frozenset({300, 301})  # version, connection types
_CLIENT_ERRORS: Final = range(400, 500)
_GONE: Final = frozenset({404, 410})  # what belongs to the session is not there
_LIVE: Final = (State.CONNECTING, State.CONNECTED)


class Session:
    """Maintains a session, and replaces it when it is lost, until :meth:`stop`.

    :param on_state: called with the new state and the old one.
    :param on_session: called when there is a new session, in which nothing is
        subscribed yet.
    :param on_sendable: called when messages can be sent.
    :param on_failure: called with each failure that is being recovered from.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        dispatcher: Dispatcher,
        transports: TransportSelector,
        credentials: CredentialsProvider,
        policy: ReconnectPolicy,
        flow: FlowControl,
        on_state: Callable[[State, State], None],
        on_session: Callable[[], None],
        on_sendable: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._reactor = reactor
        self._dispatcher = dispatcher
        self._transports = transports
        self._credentials = credentials
        self._policy = policy
        self._flow = flow
        self._on_session = on_session
        self._on_sendable = on_sendable
        self._on_failure = on_failure
        self._machine = Machine(on_state)
        self.id: str | None = None
        """The ``clientId``; None while there is no session."""
        self.deliveries = 0
        """How many messages have arrived; counted by the client."""
        self.refusal: Exception | None = None
        """Why the server refused for good; None unless it did."""
        self._is_known = False
        """Whether the server is known to know the session."""
        self._connected_once = False
        """Whether a connect succeeded since the session began or broke."""
        self._connects_refused = 0
        self._in_flight: Envelope | None = None
        """The handshake, connect or disconnect whose outcome matters."""
        self._sending: Deferred[None] | None = None
        self._connect_sent: Connect | None = None
        self._fetching_credentials: Deferred[Any] | None = None
        self._timer: Any = None
        self._held_back = False
        """Whether the next connect waits until messages have been processed."""
        self._stopping: list[Deferred[None]] = []

    @property
    def state(self) -> State:
        """The state of the machine."""
        return self._machine.state

    @property
    def sendable(self) -> bool:
        """Whether other messages may be sent now.

        After a failure, not until a connect has succeeded: the server might accept
        publishes for a session that it has forgotten, ahead of the subscriptions.
        """
        return self._is_known and self._machine.state in _LIVE

    @property
    def _ending(self) -> bool:
        """Whether the user disconnected, perhaps in a listener just now."""
        return self.state in (State.DISCONNECTING, State.DISCONNECTED)

    def start(self) -> None:
        """Begin a session; changes nothing if there is one, or one is coming."""
        before = self._machine.state
        if before is State.REFUSED:
            self.refusal = None
        if self._machine.feed(Input.START) is not before and not self._ending:
            self._credentials.forget_refusal()
            self._policy.start_anew()
            self._handshake()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        def fire() -> None:
            self._timer = None
            self._machine.feed(Input.TIMER)
            if not self._ending:
                then()

        self._cancel_timer()
        self._timer = self._reactor.callLater(seconds, fire)

    def _cancel_timer(self) -> None:
        self._held_back = False
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # Sending.

    def _send(self, transport: Transport, message: Message, timeout: float) -> None:
        envelope = self._in_flight = Envelope(message, self)
        sending = self._dispatcher.send(transport, [envelope], timeout)
        if self._in_flight is envelope:  # it may have been answered already
            self._sending = sending

    def replied(self, envelope: Envelope, reply: Message) -> None:
        """See :meth:`~txbayeux.client.envelope.Sender.replied`."""
        if envelope is not self._in_flight:
            return
        self._in_flight = self._sending = None
        if envelope.channel == channels.HANDSHAKE:
            self._handshake_answered(reply)
        elif envelope.channel == channels.CONNECT:
            self._connect_answered(reply)
        else:
            self._close()

    def failed(self, envelope: Envelope, error: Exception) -> None:
        """See :meth:`~txbayeux.client.envelope.Sender.failed`."""
        if envelope is not self._in_flight:
            return
        self._in_flight = self._sending = None
        if envelope.channel == channels.HANDSHAKE:
            self._handshake_failed(error)
        elif envelope.channel == channels.CONNECT:
            self._connect_failed(error)
        else:
            self._close()

    def _abandon(self) -> Callable[[], None]:
        """Ignore the outcome of what is in flight; return a function that cancels it.

        Call that last: it may close the connection, and fail other requests.
        """
        envelope, self._in_flight = self._in_flight, None
        sending, self._sending = self._sending, None
        if envelope is not None:
            envelope.settled = True

        def cancel() -> None:
            if sending is not None:
                sending.cancel()

        return cancel

    # Handshake.

    def _handshake(self) -> None:
        asking = self._fetching_credentials = self._credentials.get()

        def asked(result: Any) -> None:
            if self._fetching_credentials is not asking:
                return
            self._fetching_credentials = None
            if isinstance(result, Failure):
                _log.failure("Getting credentials failed", result)
                self._handshake_failed(cast(Exception, result.value))
            else:
                self._send_handshake(result)

        asking.addBoth(asked)

    def _send_handshake(self, credentials: Credentials) -> None:
        refusal = self._credentials.refusal_of(credentials)
        if refusal is not None:
            self._refuse(refusal)
            return
        self._transports.use_credentials(credentials)
        now = self._reactor.seconds()
        self._policy.handshakes.sent(now)
        transport = self._transports.for_handshake(now)
        types = self._transports.ranking.types
        message = messages.handshake(types, credentials.ext, hold=DEFAULT_HOLD)
        self._send(transport, message, self._transports.network_delay)

    def _handshake_answered(self, reply: Message) -> None:
        advice = Advice().updated(reply.get("advice"), self._transports.name)
        self._policy.advice = advice
        session_id = reply.get("clientId")
        types = reply.get("supportedConnectionTypes")
        if reply["successful"] is not True:
            error = BayeuxError.from_reply(reply)
            go_on = advises_to_go_on(reply.get("advice"), self._transports.name)
            if error.code in _AUTHENTICATION and not go_on:
                self._unauthenticated(error, reply)
            elif advice.final or (error.code in _INCOMPATIBLE and not go_on):
                self._refuse(error)
            else:
                self._handshake_failed(error, reply)
        elif not isinstance(session_id, str) or not session_id:
            error = reply_error(400, "The handshake reply has no clientId", reply)
            self._handshake_failed(error, reply)
        elif advice.final:
            self._refuse(reply_error(403, "The server advises not to connect", reply))
        elif isinstance(types, list) and not self._transports.ranking.accept_offer(
            types
        ):
            self._refuse(reply_error(301, "No connection type in common", reply))
        else:
            self._credentials.forget_refusal()
            self.id = session_id
            self._connected_once = False
            self._connects_refused = 0
            self._on_session()
            self._machine.feed(Input.HANDSHAKEN)
            if not self._ending:
                # Not before: what a listener publishes now follows the connect.
                self._is_known = True
                self._connect()

    def _handshake_failed(self, error: Exception, reply: Message | None = None) -> None:
        if self._refuses_us(error):
            status = int(getattr(error, "status", 0))
            refusal = BayeuxError(status, (), "Authentication failed")
            self._unauthenticated(refusal, reply)
        else:
            self._retry_handshake(error, reply)

    def _retry_handshake(self, error: Exception, reply: Message | None) -> None:
        if isinstance(error, TransportError):
            self._transports.failed(error, self._reactor.seconds())
        hosts = () if reply is None else self._policy.advice.hosts
        if not self._transports.advised_hosts(hosts):
            self._transports.next_host()
        self._machine.feed(Input.HANDSHAKE_FAILED)
        self._recover(error, reply, self._handshake)

    def _refuses_us(self, error: Exception) -> bool:
        """Return whether an HTTP status refuses us, not just a connection type."""
        types = self._transports.ranking.types
        type_only = isinstance(error, TransportUnavailable) and len(types) > 1
        return getattr(error, "status", None) in _AUTHENTICATION and not type_only

    def _unauthenticated(self, error: BayeuxError, reply: Message | None) -> None:
        """Handshake with other credentials, if there may be any; give up otherwise."""
        if self._credentials.refused(error):
            self._retry_handshake(error, reply)
        else:
            self._refuse(error)

    # Connect.

    def _connect(self, *, repeats: bool = False) -> None:
        session_id = cast(str, self.id)  # the states that lead here have one
        now = self._reactor.seconds()
        before = self._transports.name
        transport = self._transports.for_connect(now)
        kind = transport.connection_type
        at_once = not self._connected_once or self._transports.name != before
        self._connect_sent = Connect(
            session_id, kind, now, at_once, repeats, self.deliveries
        )
        policy = self._policy
        self._send(
            transport,
            messages.connect(session_id, kind, hold=0.0 if at_once else policy.hold),
            (policy.first_hold if at_once else policy.hold)
            + self._transports.network_delay,
        )
        if self._in_flight is not None:
            self._on_sendable()

    def _connect_answered(self, reply: Message) -> None:
        connect = cast(Connect, self._connect_sent)
        if reply["successful"] is not True:
            self._connect_refused(BayeuxError.from_reply(reply), reply)
            return
        self._policy.advise(reply, self._transports.name)
        if self._policy.advice.final:
            self._refuse(reply_error(403, "The server advises not to connect", reply))
        elif self._policy.advice.reconnect == HANDSHAKE:
            error = reply_error(402, "Advised to handshake", reply, connect.session_id)
            self._lose(error, reply)
        else:
            self._policy.up(self._reactor.seconds())
            self._connects_refused = 0
            self._is_known = self._connected_once = True
            if connect.at_once:
                self._first_connect(connect, answered=True)
            else:  # an immediate answer proves nothing
                self._transports.ranking.worked(connect.connection_type)
            self._machine.feed(Input.CONNECTED)
            if self.state is State.CONNECTED:
                self._transports.attach(connect.session_id)
                self._on_sendable()
                # Behind the messages that came with the reply.
                self._dispatcher.after(lambda: self._connect_again(connect))

    def _connect_again(self, last: Connect) -> None:
        idle = self._in_flight is None and self._timer is None
        if idle and self.state is State.CONNECTED and self.id == last.session_id:
            delay = self._policy.after_success(
                at_once=last.at_once,
                seconds=self._reactor.seconds() - last.sent_at,
                delivered=self.deliveries != last.deliveries,
            )
            self._wait(delay, self._connect_with_room)

    def _connect_with_room(self, *, repeats: bool = False) -> None:
        self._held_back = self._flow.full
        if not self._held_back:
            self._connect(repeats=repeats)

    def room(self) -> None:
        """Called when a connect may bring messages again."""
        if self._held_back:
            # Not at once: this is on the stack of what has processed a message.
            self._wait(0, self._connect_with_room)

    def _connect_refused(self, error: BayeuxError, reply: Message) -> None:
        self._policy.advise_anew(reply, self._transports.name)
        if self._policy.advice.final:
            if error.code in _AUTHENTICATION and self._credentials.refused(error):
                self._lose(error, reply)
            else:
                self._refuse(error)
        elif self._needs_session(error, reply):
            self._lose(error, reply)
        else:
            self._break(error, reply)

    def _needs_session(self, error: BayeuxError, reply: Message) -> bool:
        """Return whether to handshake after a refused connect, not connect again."""
        if self._policy.advice.reconnect == HANDSHAKE or error.code in (401, 402):
            return True
        advised = advises_to_go_on(reply.get("advice"), self._transports.name)
        return self._is_refused_again() and not advised

    def _is_refused_again(self) -> bool:
        """Count a refused connect; return whether there were several in a row."""
        self._connects_refused += 1
        return self._connects_refused >= MAX_REFUSED_CONNECTS

    def _connect_failed(self, error: Exception) -> None:
        connect = cast(Connect, self._connect_sent)
        status = getattr(error, "status", None)
        repeatable = not (
            connect.at_once or connect.repeats or self._dispatcher.resumes
        )
        if status in GATEWAY and repeatable:
            # A balancer sends the next one to another server, perhaps: if that it is
            # asked to hold, and not to answer at once, so are all that follow.
            again = partial(self._connect_with_room, repeats=True)
            self._wait(self._policy.pause(), again)
            self._on_failure(error)
            return
        gone = self._transports.away and isinstance(error, Unreachable)
        if isinstance(error, NoReply) and status in _CLIENT_ERRORS:
            gone = self._is_refused_again() or gone
        # A handshake shows whether the server refuses this client, or returns from an
        # advised host to the original one.
        if gone or self._refuses_us(error):
            self._lose(error, None)
        else:
            self._connection_lost(error)

    # Failures.

    def transport_broken(self, error: TransportError) -> None:
        """Called when nothing comes over the transport in use any more."""
        if self.state not in _LIVE:
            return
        cancel = self._abandon()
        if error.status in _GONE:
            self._transports.failed(error, self._reactor.seconds())
            self._lose(error, None)
        else:
            self._connection_lost(error)
        cancel()

    def _first_connect(self, connect: Connect, *, answered: bool) -> None:
        seconds = self._reactor.seconds() - connect.sent_at
        delay = self._transports.network_delay
        self._policy.first_connect(seconds, delay, answered=answered)

    def _connection_lost(self, error: Exception) -> None:
        connect = self._connect_sent
        if self.state is State.CONNECTING and connect is not None and connect.at_once:
            self._first_connect(connect, answered=False)
        if isinstance(error, NoReply) and self._dispatcher.resumes:
            self._transports.failed(error, self._reactor.seconds())
            self._lose(error, None)
        else:
            self._break(error, None)

    def doubt(self, transport: Transport, error: TransportError) -> None:
        """Called when messages over ``transport`` got no reply.

        The server may have been replaced: connect at once to check the session.
        """
        idle = self.state is State.CONNECTED and self._in_flight is None
        if idle and self._transports.in_use(transport):
            self._break(error, None, keep_interval=False)

    def lost(self, session_id: str, error: Exception, reply: Message) -> None:
        """Called when a reply said that the server does not know the session."""
        if session_id == self.id and self._machine.accepts(Input.SESSION_LOST):
            self._policy.advise(reply, self._transports.name)
            self._lose(error, reply)

    def unsolicited(self, message: Message) -> None:
        """Called with a message on a meta channel that answers no request.

        CometD's server ends a session with a ``/meta/disconnect`` of its own.
        """
        mine = self.id is not None and message.get("clientId") == self.id
        if not mine or not self._machine.accepts(Input.SESSION_LOST):
            return
        self._policy.advise_anew(message, self._transports.name)
        ended = message["channel"] == channels.DISCONNECT
        error = reply_error(402, "The server ended the session", message)
        if ended and self._policy.advice.final:
            self._refuse(error)
        elif ended or self._policy.advice.reconnect == HANDSHAKE:
            self._lose(error, message)

    def _break(
        self, error: Exception, reply: Message | None, *, keep_interval: bool = True
    ) -> None:
        """Keep the session; connect again later."""
        # Beside an event stream, connects only tell the server that we live: the
        # interval between them says nothing about what to do without the stream.
        beside_stream = self._transports.name == "eventsource"
        keep_interval = keep_interval and not beside_stream
        self._went_down()
        if isinstance(error, TransportError):
            self._transports.failed(error, self._reactor.seconds())
        self._machine.feed(Input.CONNECT_FAILED)
        self._recover(error, reply, self._connect, keep_interval=keep_interval)

    def _lose(self, error: Exception, reply: Message | None) -> None:
        """Abandon the session; handshake again later."""
        self._went_down(lost=True)
        self.id = None
        self._transports.advised_hosts(self._policy.advice.hosts)
        cancel = self._abandon()
        self._machine.feed(Input.SESSION_LOST)
        self._recover(error, reply, self._handshake, lost=True)
        cancel()

    def _recover(
        self,
        error: Exception,
        reply: Message | None,
        then: Callable[[], None],
        *,
        lost: bool = False,
        keep_interval: bool = False,
    ) -> None:
        if self._ending:
            return
        delay = self._policy.after_failure(
            reply,
            self._transports.name,
            away=isinstance(error, Unreachable),
            lost=lost,
            keep_interval=keep_interval,
        )
        if self.id is None:  # a handshake comes next
            pause = self._policy.handshakes.pause(self._reactor.seconds())
            delay = max(delay, pause)
        if self._policy.exhausted:
            self._refuse(RetriesExhausted(self._policy.exhausted, error))
        else:
            self._wait(delay, then)
            self._on_failure(error)

    def _went_down(self, *, lost: bool = False) -> None:
        self._is_known = self._connected_once = False
        self._cancel_timer()
        self._policy.down(self._reactor.seconds(), lost=lost)

    def _refuse(self, error: Exception) -> None:
        """Stop trying: the server has refused this client for good."""
        self._went_down()
        self.id = None
        self._abandon()
        self.refusal = error
        self._transports.leave()
        self._machine.feed(Input.REFUSE)

    # The end.

    def stop(self) -> Deferred[None]:
        """Disconnect and close; fires when nothing is left in the reactor.

        The server has :data:`DISCONNECT_SECONDS` to answer the disconnect.
        """
        before = self.state
        self._machine.feed(Input.STOP)
        if self.state is State.DISCONNECTED:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopping.append(stopped)
        if before is not State.DISCONNECTING:
            self._cancel_timer()
            asking, self._fetching_credentials = self._fetching_credentials, None
            if asking is not None:
                asking.cancel()
            self._is_known = False
            session_id, self.id = self.id, None
            # A connect in flight ends with the transport: to cancel it now could
            # close the socket that the disconnect is sent over.
            self._abandon()
            if session_id is None:
                self._close()
            else:
                delay = min(DISCONNECT_SECONDS, self._transports.network_delay)
                # Also for a reply that an extension does not let go.
                self._timer = self._reactor.callLater(delay, self._timed_out)
                message = messages.disconnect(session_id)
                self._send(self._transports.current, message, delay)
        return stopped

    def _timed_out(self) -> None:
        self._timer = None
        self._close()

    def _close(self) -> None:
        def closed(_: object) -> None:
            self._dispatcher.stop()
            self._machine.feed(Input.STOPPED)
            stopping, self._stopping = self._stopping, []
            for stopped in stopping:
                stopped.callback(None)

        self._cancel_timer()
        cancel = self._abandon()
        self._transports.close().addBoth(closed)
        cancel()
