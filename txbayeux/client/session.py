"""The loop: handshake, connect, connect, ..., and the way back from any failure.

What happens is fed to the machine of :mod:`txbayeux.client.state`; this module
does what the new state asks for.  There is one timer, and one handshake or connect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux import channel as channels
from txbayeux.client.advice import HANDSHAKE, Advice
from txbayeux.client.credentials import Credentials, CredentialsProvider, handshake_with
from txbayeux.client.dispatcher import Dispatcher, Flight, PendingRequest
from txbayeux.client.farewell import Farewell
from txbayeux.client.reconnect import ConnectRequest, ReconnectPolicy
from txbayeux.client.retry import Retry
from txbayeux.client.session_listener import SessionListener
from txbayeux.client.state import Input, Machine, State
from txbayeux.client.transport_selector import TransportSelector
from txbayeux.errors import BayeuxError
from txbayeux.message import Message
from txbayeux.transport.base import (
    Transport,
    TransportError,
    TransportUnavailable,
    Unreachable,
)

__all__ = ["Connection"]

_log: Final = Logger()

_AUTHENTICATION: Final = frozenset({401, 403})
_GONE: Final = frozenset({404, 410})  # what belongs to the session is not there
_LIVE: Final = (State.CONNECTING, State.CONNECTED)


class Connection:
    """One session after the other, for as long as the user wants."""

    def __init__(
        self,
        reactor: Any,
        listener: SessionListener,
        *,
        selector: TransportSelector,
        dispatcher: Dispatcher,
        hooks: CredentialsProvider,
        retry: Retry,
        random: Callable[[], float],
        changed: Callable[[State, State], None],
    ) -> None:
        self._reactor = reactor
        self._selector = selector
        self._dispatcher = dispatcher
        self._hooks = hooks
        self._listener = listener
        self._machine = Machine(changed)
        self._policy = ReconnectPolicy(retry, random)
        self.session: str | None = None
        """The session's id; None while there is none."""
        self.deliveries = 0
        """How many messages have come; the listener counts."""
        self._connect_in_flight: ConnectRequest | None = None
        self._is_known = False
        self._opening = True
        self._flight: Flight | None = None
        self._asking: Deferred[Any] | None = None
        self._timer: Any = None
        self._farewell = Farewell(reactor, selector, dispatcher, self._stopped)

    @property
    def state(self) -> State:
        """Where the machine stands."""
        return self._machine.state

    @property
    def sendable(self) -> bool:
        """Whether other messages may be sent now.

        After a failure, not before a connect shows that the session lives: servers
        take publishes of sessions that they never saw, ahead of the subscriptions.
        """
        return self._is_known and self.state in _LIVE

    @property
    def _ending(self) -> bool:
        """Whether the user disconnected, perhaps on hearing of the last change."""
        return self.state in (State.DISCONNECTING, State.DISCONNECTED)

    def start(self) -> None:
        """Ask for a session; changes nothing while there is one, or one is coming."""
        before = self.state
        if self._machine.feed(Input.START) is not before and not self._ending:
            self._hooks.forget_refusal()
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
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # Handshake.

    def _handshake(self) -> None:
        asking = self._asking = self._hooks.ask()

        def asked(result: Any) -> None:
            if self._asking is not asking:
                return
            self._asking = None
            if isinstance(result, Failure):
                _log.failure("Asking for credentials failed", result)
                self._handshake_failed(cast(Exception, result.value))
            else:
                self._shake(result)

        asking.addBoth(asked)

    def _shake(self, credentials: Credentials) -> None:
        refusal = self._hooks.refusal_of(credentials)
        if refusal is not None:
            self._refuse(refusal)
            return
        selector = self._selector
        selector.equip(credentials)
        transport = selector.for_handshake(self._reactor.seconds())
        message = handshake_with(credentials, selector.types)
        request = PendingRequest(message, self._shaken, self._handshake_failed)
        self._flight = self._dispatcher.send(
            transport, [request], selector.network_delay
        )

    def _shaken(self, reply: Message) -> None:
        if self.state is not State.HANDSHAKING:
            return
        advice = Advice().updated(reply.get("advice"), self._selector.name)
        self._policy.advice = advice
        session, types = reply.get("clientId"), reply.get("supportedConnectionTypes")
        if reply["successful"] is not True:
            error = BayeuxError.parse(reply.get("error"))
            if error.code in _AUTHENTICATION:
                self._unauthenticated(error, reply)
            elif advice.final:
                self._refuse(error)
            else:
                self._handshake_failed(error, reply)
        elif not isinstance(session, str) or not session:
            error = BayeuxError(400, (), "A handshake without a session")
            self._handshake_failed(error, reply)
        elif advice.final:
            self._refuse(BayeuxError(403, (), "The server advises not to connect"))
        elif isinstance(types, list) and not self._selector.offered(types):
            error = BayeuxError(301, (), "No connection type in common")
            self._handshake_failed(error, reply)
        else:
            self._hooks.forget_refusal()
            self._flight = None
            self.session = session
            self._opening = True
            self._listener.session_began()
            self._machine.feed(Input.HANDSHAKEN)
            if not self._ending:
                # Not before: what is published on hearing of it follows the connect.
                self._is_known = True
                self._connect()

    def _handshake_failed(self, error: Exception, reply: Message | None = None) -> None:
        if self.state is not State.HANDSHAKING:
            return
        if self._refuses_us(error):
            status = int(getattr(error, "status", 0))
            refusal = BayeuxError(status, (), "Authentication failed")
            self._unauthenticated(refusal, reply)
            return
        self._flight = None
        if isinstance(error, TransportError):
            self._selector.failed(error, self._reactor.seconds())
        hosts = () if reply is None else self._policy.advice.hosts
        if not self._selector.advised_hosts(hosts):
            self._selector.next_host()
        self._machine.feed(Input.HANDSHAKE_FAILED)
        self._recover(error, reply, self._handshake)

    def _refuses_us(self, error: Exception) -> bool:
        """Tell whether we are refused, rather than a connection type of several."""
        type_only = (
            isinstance(error, TransportUnavailable) and len(self._selector.types) > 1
        )
        return getattr(error, "status", None) in _AUTHENTICATION and not type_only

    def _unauthenticated(self, error: BayeuxError, reply: Message | None) -> None:
        """Handshake with other credentials, if there are any; give up if not."""
        if self._hooks.refused(error):
            self._handshake_failed(error, reply)
        else:
            self._refuse(error)

    # Connect.

    def _connect(self) -> None:
        session = cast(str, self.session)  # the states that lead here have one
        now = self._reactor.seconds()
        before = self._selector.name
        transport = self._selector.for_connect(now)
        opening = self._opening or self._selector.name != before
        hold = 0.0 if opening else self._policy.hold
        connect = self._connect_in_flight = ConnectRequest(
            session, transport.connection_type, now, opening, self.deliveries
        )
        request = PendingRequest(
            connect.message(),
            lambda reply: self._connect_answered(connect, reply),
            lambda error: self._connect_unanswered(connect, error),
        )
        delay = hold + self._selector.network_delay
        self._flight = self._dispatcher.send(transport, [request], delay)
        if self._connect_in_flight is connect:
            self._listener.sendable()

    def _connect_answered(self, connect: ConnectRequest, reply: Message) -> None:
        if connect is not self._connect_in_flight:
            return
        self._connect_in_flight = self._flight = None
        if reply["successful"] is not True:
            self._connect_refused(BayeuxError.parse(reply.get("error")), reply)
            return
        self._policy.advise(reply, self._selector.name)
        if self._policy.advice.final:
            self._refuse(BayeuxError(403, (), "The server advises not to connect"))
        elif self._policy.advice.reconnect == HANDSHAKE:
            error = BayeuxError(402, (connect.session,), "Advised to handshake")
            self._lose_session(error, reply)
        else:
            self._policy.up(self._reactor.seconds())
            self._is_known, self._opening = True, False
            if not connect.opening:  # being answered at once is no proof
                self._selector.worked(connect.connection_type)
            self._machine.feed(Input.CONNECTED)
            if self.state is State.CONNECTED:
                self._selector.attach(connect.session)
                self._listener.sendable()
                # Behind the messages that came with the reply.
                self._dispatcher.after(lambda: self._connect_again(connect))

    def _connect_again(self, last: ConnectRequest) -> None:
        idle = self._connect_in_flight is None and self._timer is None
        if self.state is State.CONNECTED and self.session == last.session and idle:
            now = self._reactor.seconds()
            waiting = self._policy.after_success(last, now, self.deliveries)
            self._wait(waiting, self._connect)

    def _connect_refused(self, error: BayeuxError, reply: Message) -> None:
        self._policy.advise_anew(reply, self._selector.name)
        if self._policy.advice.final:
            if error.code in _AUTHENTICATION and self._hooks.refused(error):
                self._lose_session(error, reply)
            else:
                self._refuse(error)
        elif self._policy.advice.reconnect == HANDSHAKE or error.code in (401, 402):
            self._lose_session(error, reply)
        else:
            self._break(error, reply)

    def _connect_unanswered(self, connect: ConnectRequest, error: Exception) -> None:
        if connect is not self._connect_in_flight:
            return
        self._connect_in_flight = self._flight = None
        gone = self._selector.away and isinstance(error, Unreachable)
        # The handshake will tell; or lead from an advised host back home.
        if gone or self._refuses_us(error):
            self._lose_session(error, None)
        else:
            self._break(error, None)

    def broken(self, transport: Transport, error: TransportError) -> None:
        """Hear from a transport that nothing comes over it any more."""
        if not self._selector.uses(transport) or self.state not in _LIVE:
            return
        flight, self._flight = self._flight, None
        self._connect_in_flight = None
        if error.status in _GONE:
            self._selector.failed(error, self._reactor.seconds())
            self._lose_session(error, None)
        else:
            # Beside an event stream, connects but tell the server that we live: the
            # interval between them says nothing of the stream.
            self._break(error, None, keep_interval=transport.pipelined)
        if flight is not None:
            flight.give_up()

    def doubt(self, transport: Transport, error: TransportError) -> None:
        """Hear of other messages without an answer: maybe another server is there."""
        idle = self.state is State.CONNECTED and self._connect_in_flight is None
        if idle and self._selector.uses(transport):
            self._break(error, None, keep_interval=False)

    def _break(
        self, error: Exception, reply: Message | None, *, keep_interval: bool = True
    ) -> None:
        """Keep the session; connect again later."""
        self._went_down()
        if isinstance(error, TransportError):
            self._selector.failed(error, self._reactor.seconds())
        self._machine.feed(Input.CONNECT_FAILED)
        self._recover(error, reply, self._connect, keep_interval=keep_interval)

    def lose_session(self, session: str, error: Exception, reply: Message) -> None:
        """Hear from a reply that the server does not know ``session`` any more."""
        if session == self.session and self._machine.accepts(Input.SESSION_LOST):
            self._policy.advise(reply, self._selector.name)
            self._lose_session(error, reply)

    def _lose_session(self, error: Exception, reply: Message | None) -> None:
        """Handshake anew later."""
        self._went_down()
        self.session = None
        self._selector.advised_hosts(self._policy.advice.hosts)
        flight, self._flight = self._flight, None
        self._connect_in_flight = None
        self._machine.feed(Input.SESSION_LOST)
        self._recover(error, reply, self._handshake)
        if flight is not None:
            flight.give_up()

    def _recover(
        self,
        error: Exception,
        reply: Message | None,
        then: Callable[[], None],
        *,
        keep_interval: bool = False,
    ) -> None:
        if not self._ending:
            waiting = self._policy.after_failure(
                reply, self._selector.name, keep_interval
            )
            self._wait(waiting, then)
            self._listener.troubled(error)

    def _went_down(self) -> None:
        self._is_known, self._opening = False, True
        self._cancel_timer()
        self._policy.down(self._reactor.seconds())

    def unsolicited(self, message: Message) -> None:
        """Hear of a message on a meta channel that answers nothing.

        CometD's server ends a session with a ``/meta/disconnect`` of its own.
        """
        mine = self.session is not None and message.get("clientId") == self.session
        if not mine or not self._machine.accepts(Input.SESSION_LOST):
            return
        self._policy.advise_anew(message, self._selector.name)
        ended = message["channel"] == channels.DISCONNECT
        error = BayeuxError(402, (), "The server ended the session")
        if ended and self._policy.advice.final:
            self._refuse(error)
        elif ended or self._policy.advice.reconnect == HANDSHAKE:
            self._lose_session(error, message)

    def _refuse(self, error: Exception) -> None:
        self._went_down()
        self.session = None
        self._flight = self._connect_in_flight = None
        tell = self._listener.refused(error)
        self._selector.leave()
        self._machine.feed(Input.REFUSE)
        tell()

    def _stopped(self) -> None:
        self._machine.feed(Input.STOPPED)

    def stop(self) -> Deferred[None]:
        """Disconnect and close; fires when nothing is left in the reactor."""
        before = self.state
        self._machine.feed(Input.STOP)
        if self.state is State.DISCONNECTED:
            return succeed(None)
        stopped = self._farewell.wait()
        if before is not State.DISCONNECTING:
            self._cancel_timer()
            asking, self._asking = self._asking, None
            if asking is not None:
                asking.cancel()
            self._is_known, self._connect_in_flight = False, None
            session, self.session = self.session, None
            self._farewell.say(session, self._flight)
        return stopped
