"""The client of a Bayeux server, as the user sees it."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import Logger
from twisted.web.iweb import IPolicyForHTTPS

from txbayeux import channel as channels
from txbayeux.client import messages
from txbayeux.client.backoff import Backoff, ReconnectPolicy, Retry
from txbayeux.client.credentials import CredentialsProvider, Source
from txbayeux.client.dispatcher import Dispatcher
from txbayeux.client.envelope import Envelope
from txbayeux.client.errors import Closed, OutboxFull, PublishTimeout
from txbayeux.client.flow import DEFAULT_LIMIT, FlowControl
from txbayeux.client.listeners import FailureListener, Listeners, StateListener
from txbayeux.client.outbox import Outbox
from txbayeux.client.session import Session
from txbayeux.client.state import State
from txbayeux.client.subscription import (
    Listener,
    Processed,
    Subscription,
    Subscriptions,
)
from txbayeux.client.transports import DEFAULT, TransportSelector, factories
from txbayeux.errors import channel_invalid
from txbayeux.extension import Extension
from txbayeux.message import Message
from txbayeux.processor import Processor
from txbayeux.registration import Registration
from txbayeux.transport.base import Context, Factory, TransportError
from txbayeux.transport.endpoints import basic_authorization
from txbayeux.transport.in_process import in_process
from txbayeux.transport.url import Proxy, ServerURL, parse

__all__ = ["Client"]

_log: Final = Logger()

MAX_WAITING: Final = 10_000
"""Messages that may wait for an answer; beyond it publishing fails at once."""


class Client:
    """A client of one Bayeux server, which connects when it is first used.

    Nothing happens before the first :meth:`subscribe`, :meth:`publish` or
    :meth:`connect`.  From then on the client keeps a session, and recovers from
    failures by itself, until :meth:`disconnect`, or until the server refuses for good.

    :param url: the server's URL: http, https, ws or wss; a ``user:password`` in it is
        sent as Basic authentication.
    :param reactor: by default Twisted's global one.
    :param transports: connection types in order of preference, or a mapping of
        connection types to factories of transports.
    :param headers, cookies, ext: sent to the origin of ``url`` and no other; ``ext``
        goes with the handshake.  Each is a mapping, or a callable, called before
        every handshake, that returns one, or a Deferred or coroutine of one.
    :param extensions: see :mod:`txbayeux.extension`; ``request`` is None.
    :param retry: the delays between attempts.
    :param max_unprocessed: how many messages may have arrived without having been
        processed before the client waits with its next connect; see
        :data:`~txbayeux.client.subscription.Processed`.
    :param network_delay: seconds that a reply may take, beyond the time for which the
        server was asked to hold it.
    :param ping_interval: seconds of silence before a WebSocket is pinged.
    :param tls: makes the TLS connections; by default certificates are verified
        against the platform's roots.  :class:`txbayeux.transport.tls.TLSPolicy` is one.
    :param proxy: the URL of an HTTP proxy; environment variables are ignored.
    :param compression: whether to offer permessage-deflate.
    :param random: returns numbers from 0 up to 1, for the jitter; for tests.

    :raises ValueError: for a URL, or any other of these, that cannot be used.

    Source: Bayeux specification, "Client Operation"; Faye's ``Client``.
    """

    def __init__(
        self,
        url: str,
        *,
        reactor: Any = None,
        transports: Sequence[str] | Mapping[str, Factory] = DEFAULT,
        headers: Source = None,
        cookies: Source = None,
        ext: Source = None,
        extensions: Sequence[Extension] = (),
        retry: Retry | None = None,
        max_unprocessed: int = DEFAULT_LIMIT,
        network_delay: float = 10.0,
        ping_interval: float = 20.0,
        tls: IPolicyForHTTPS | None = None,
        proxy: str | None = None,
        compression: bool = False,
        random: Callable[[], float] | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor as default_reactor  # noqa: PLC0415

            reactor = default_reactor
        if network_delay <= 0 or ping_interval <= 0:
            raise ValueError("network_delay and ping_interval must be positive")
        if max_unprocessed < 1:
            raise ValueError("max_unprocessed must be at least 1")
        endpoint, user = parse(url)
        context = Context(
            reactor=reactor,
            endpoint=endpoint,
            tls=tls,
            proxy=None if proxy is None else Proxy.parse(proxy),
            network_delay=network_delay,
            ping_interval=ping_interval,
            compression=compression,
        )
        self._reactor = reactor
        retry = retry or Retry()
        random = random or random_module.random  # spreads load, hides nothing
        self._closed = False
        self._failure: Exception | None = None
        self._listeners = Listeners()
        self._flow = FlowControl(reactor, max_unprocessed, self._room_changed)
        self._dispatcher = Dispatcher(self._deliver, self._flow.queued)
        for extension in extensions:
            self.add_extension(extension)
        self._transports = TransportSelector(
            context,
            factories(transports),
            received=self._dispatcher.received,
            broken=self._transport_broken,
            authorization=None if user is None else basic_authorization(user),
        )
        self._session = Session(
            reactor,
            dispatcher=self._dispatcher,
            transports=self._transports,
            credentials=CredentialsProvider(headers, cookies, ext),
            policy=ReconnectPolicy(retry, random),
            flow=self._flow,
            on_state=self._state_changed,
            on_session=self._session_began,
            on_sendable=self._sendable,
            on_failure=self._failed,
        )
        self._outbox = Outbox(
            reactor,
            session=self._session,
            dispatcher=self._dispatcher,
            transports=self._transports,
            backoff=Backoff(retry, random),
            on_failure=self._failed,
        )
        self._subscriptions = Subscriptions(self._session, self._outbox, self._failed)

    @classmethod
    def in_process(cls, server: Processor, **options: Any) -> Client:
        """Return a client of a server in this process, without network or HTTP.

        :param options: as for the class, without those of a network.
        """
        transports = {"in-process": in_process(server)}
        return cls("http://localhost/", transports=transports, **options)

    def __repr__(self) -> str:
        return f"<Client {self.url} {self.state.value}>"

    # What there is.

    @property
    def url(self) -> str:
        """The server's URL, without user and password."""
        return self.endpoint.url

    @property
    def endpoint(self) -> ServerURL:
        """The server's URL in its parts."""
        return self._transports.home

    @property
    def state(self) -> State:
        """The state of the session."""
        return self._session.state

    @property
    def session_id(self) -> str | None:
        """The ``clientId`` that the server assigned; None without a session."""
        return self._session.id

    @property
    def transport(self) -> str:
        """The connection type in use, or about to be used."""
        return self._transports.name

    @property
    def last_failure(self) -> Exception | None:
        """The last error that :meth:`on_failure` reports; None if there was none."""
        return self._failure

    @property
    def pending(self) -> int:
        """How many publishes and subscriptions the server has not answered yet."""
        return len(self._outbox)

    @property
    def unprocessed(self) -> int:
        """How many messages have arrived and have not been processed."""
        return len(self._flow)

    def add_extension(self, extension: Extension) -> None:
        """Install an extension behind those that are there."""
        self._dispatcher.add_extension(extension)
        self._flow.add_extension(extension)

    # Listeners.  They may be coroutine functions; what they raise is logged.

    def on_state(self, listener: StateListener) -> Registration:
        """Call ``listener(new, old)`` after each change of :attr:`state`."""
        return self._listeners.add_state(listener)

    def on_up(self, listener: Callable[[], Any]) -> Registration:
        """Call ``listener()`` when connects begin to succeed."""
        return self._listeners.add_state(
            lambda new, old: listener() if new is State.CONNECTED else None
        )

    def on_down(self, listener: Callable[[], Any]) -> Registration:
        """Call ``listener()`` when connects cease to succeed, for whatever reason."""
        return self._listeners.add_state(
            lambda new, old: listener() if old is State.CONNECTED else None
        )

    def on_failure(self, listener: FailureListener) -> Registration:
        """Call ``listener(error)`` for each failure.

        These are the errors that the client recovers from; the refusal that leads to
        :attr:`State.REFUSED <txbayeux.client.State>`; and the refusal of a subscription
        with a listener, unless a Deferred from :attr:`Subscription.ready
        <txbayeux.client.Subscription.ready>` is waiting for the answer.
        """
        return self._listeners.add_failure(listener)

    # Operations.

    def connect(self) -> Deferred[None]:
        """Begin a session now; fires when connects succeed.

        After a refusal, try once more.  Fails with
        :class:`~txbayeux.errors.BayeuxError` if the server refuses for good, and
        with :class:`~txbayeux.client.Closed` after :meth:`disconnect`.
        """
        if self._closed:
            return fail(Closed(channels.CONNECT))
        if self.state is State.CONNECTED:
            return succeed(None)
        connected = self._listeners.connected()
        self._session.start()
        return connected

    def subscribe(
        self,
        channel: str,
        listener: Listener | None = None,
        *,
        ext: Mapping[str, Any] | None = None,
        processed: Processed = "finished",
    ) -> Subscription:
        """Subscribe to a channel or pattern, in this session and those after it.

        Without a ``listener`` the subscription is an asynchronous iterator.
        The server's answer is :attr:`Subscription.ready`, which fails with
        :class:`~txbayeux.errors.BayeuxError`: what the server refused it with, or 405
        without asking it, if ``channel`` begins with no slash, has control characters,
        or more than 1,024 in all.  A refusal that neither :attr:`Subscription.ready`
        nor an iterator reports is logged and reported to :meth:`on_failure`.

        :param ext: sent with the request in each session.  Subscriptions to one channel
            are one request: those after the first have the same ``ext``, or None.
        :param processed: when a message counts as processed, for the extensions that
            acknowledge or store it, and for ``max_unprocessed``: when it is finished,
            or when it was taken; see
            :data:`~txbayeux.client.subscription.Processed`.
        :raises TypeError, ValueError: for an ``ext`` that cannot be written as JSON, or
            is not that of the others; if ``processed`` is neither.
        """
        subscription = Subscription(
            channel, listener, self._subscriptions.remove, processed
        )
        if self._closed:
            subscription.closed(Closed(str(channel)))
        elif not channels.is_sendable(channel):
            subscription.closed(channel_invalid(str(channel)))
        elif self._session.refusal is not None:
            subscription.closed(self._session.refusal)
        else:
            self._subscriptions.add(subscription, ext)
        return subscription

    def publish(
        self,
        channel: str,
        data: Any,
        *,
        ext: Mapping[str, Any] | None = None,
        attempts: int | None = None,
        deadline: float | None = None,
    ) -> Deferred[Message]:
        """Publish; fires with the server's reply.

        Publishes are sent in the order of the calls, and again until the server
        answers: one whose reply was lost may arrive twice.  Cancelling the
        Deferred ends the attempts; a message that was sent may still arrive.

        :param data: anything that can be written as JSON; later changes to it have
            no effect.
        :param ext: the message's ``ext``.
        :param attempts: how often to send it at most, from 1; None for no limit.
        :param deadline: seconds after which to give up, from 0; None for never.

        Fails with :class:`~txbayeux.errors.BayeuxError` if the server refuses it
        (405 without asking it, if ``channel`` is a meta channel, or as for
        :meth:`subscribe`); with its subclasses
        :class:`~txbayeux.client.PublishTimeout`,
        :class:`~txbayeux.client.OutboxFull` and :class:`~txbayeux.client.Closed`; with
        :exc:`TypeError` or :exc:`ValueError` for data that is not JSON, or for limits
        out of range.
        """
        if not channels.is_sendable(channel) or channels.is_meta(channel):
            return fail(channel_invalid(str(channel)))
        if self._closed:
            return fail(Closed(channel))
        if self._session.refusal is not None:
            return fail(self._session.refusal)
        if len(self._outbox) >= MAX_WAITING:
            return fail(OutboxFull(channel))

        outcome: Deferred[Message] = Deferred(
            lambda _: self._outbox.settle(envelope, CancelledError())
        )
        try:
            envelope = Envelope(
                messages.publish(channel, ext),
                self._outbox,
                data=msgspec.json.encode(data),
                attempts_allowed=attempts,
                outcome=outcome,
            )
            if deadline is not None:
                self._add_deadline(outcome, channel, deadline)
        except (TypeError, ValueError, RecursionError) as error:
            return fail(error)
        self._outbox.put(envelope)
        return outcome

    def _add_deadline(
        self, outcome: Deferred[Message], channel: str, seconds: float
    ) -> None:
        if not seconds >= 0:  # nor NaN
            raise ValueError("a deadline must not be negative")

        def late(*_: object) -> Any:
            raise PublishTimeout(channel, "No reply before the deadline")

        outcome.addTimeout(seconds, self._reactor, late)

    def disconnect(self) -> Deferred[None]:
        """End the session and close everything; fires when nothing is left.

        It takes at most 5 seconds, and 2 more for a WebSocket.  What the server has
        not answered by then fails with :class:`~txbayeux.client.Closed`.  A client
        that was disconnected cannot be used again.
        """
        self._closed = True
        subscriptions = self._subscriptions.take_all()
        for envelope in self._outbox.take_all(unsent=True):
            envelope.report(Closed(envelope.channel))
        for subscription in subscriptions:
            subscription.closed(Closed(subscription.channel))

        def stopped(_: None) -> None:
            for envelope in self._outbox.take_all():
                envelope.report(Closed(envelope.channel))
            self._outbox.stop()

        self._flow.stop()
        return self._session.stop().addCallback(stopped)

    # Called by the parts of the client.

    def _deliver(self, message: Message) -> None:
        if channels.is_meta(message["channel"]):
            self._session.unsolicited(message)
        elif "data" in message:
            self._session.deliveries += 1
            processing = self._flow.arrived(message)
            self._subscriptions.deliver(message, processing)
            self._flow.delivered(processing)

    def _room_changed(self) -> None:
        if self._flow.full:
            self._transports.pause()
            return
        self._transports.resume()
        self._session.room()

    def _transport_broken(self, error: TransportError) -> None:
        self._session.transport_broken(error)

    def _session_began(self) -> None:
        self._subscriptions.subscribe_again()

    def _sendable(self) -> None:
        self._outbox.pump()

    def _state_changed(self, new: State, old: State) -> None:
        if new is State.REFUSED:
            self._refused(new, old)
            return
        if new is State.CONNECTED:
            for waiting in self._listeners.take_connecting():
                waiting.callback(None)
        elif new is State.DISCONNECTING:
            for waiting in self._listeners.take_connecting():
                waiting.errback(Closed(channels.CONNECT))
        self._listeners.state_changed(new, old)

    def _refused(self, new: State, old: State) -> None:
        """Fail everything that waits.

        It is collected before the listeners are called: one may connect again at
        once, and what is asked for from then on has nothing to do with this refusal.
        """
        error = self._session.refusal or Closed(channels.CONNECT)
        envelopes = self._outbox.take_all()
        subscriptions = self._subscriptions.take_all()
        connecting = self._listeners.take_connecting()
        self._outbox.stop()
        self._listeners.state_changed(new, old)
        for envelope in envelopes:
            envelope.report(error)
        for subscription in subscriptions:
            subscription.closed(error)
        for waiting in connecting:
            if not waiting.called:
                waiting.errback(error)
        self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._failure = error
        # Text, so that stored log events do not keep the client alive.
        _log.info("{client}: {error}", client=repr(self), error=str(error))
        self._listeners.failed(error)
