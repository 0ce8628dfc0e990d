"""What the user holds: a client of one Bayeux server."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.web.iweb import IPolicyForHTTPS

from txbayeux import channel as channels
from txbayeux.client.credentials import CredentialsProvider, Source
from txbayeux.client.dispatcher import Dispatcher
from txbayeux.client.errors import Closed, OutboxFull
from txbayeux.client.observers import Observers, StateListener
from txbayeux.client.outbox import Envelope, Outbox
from txbayeux.client.publication import Publication, subscribing, unsubscribing
from txbayeux.client.retry import Backoff, Retry
from txbayeux.client.sender import Sender
from txbayeux.client.session import Connection
from txbayeux.client.session_listener import SessionListener
from txbayeux.client.state import State
from txbayeux.client.subscription import Listener, Subscription, Subscriptions
from txbayeux.client.transport_selector import TransportSelector
from txbayeux.client.transports import DEFAULT, factories
from txbayeux.errors import channel_invalid
from txbayeux.extension import Extension
from txbayeux.message import Message, encode
from txbayeux.protocol import Processor
from txbayeux.transport.base import Context, Factory, Transport, TransportError
from txbayeux.transport.endpoints import basic_authorization
from txbayeux.transport.in_process import in_process
from txbayeux.transport.url import Proxy, ServerURL, parse

__all__ = ["Client"]

_log: Final = Logger()

MAX_WAITING: Final = 10_000
"""Messages that may wait to be accepted; past it publishing fails at once."""


class Client:
    """A Bayeux client: it connects when first used, and recovers by itself.

    Nothing happens before the first :meth:`subscribe`, :meth:`publish` or
    :meth:`connect`.  From then on there is a session, or one is being sought,
    until :meth:`disconnect`, or until the server refuses for good.

    :param url: where the server is: http, https, ws or wss; a ``user:password``
        in it is sent as Basic authentication.
    :param reactor: by default Twisted's own.
    :param transports: connection types in order of preference, or a mapping of
        such names to factories, for transports of one's own.
    :param headers, cookies, ext: for the server of ``url`` and no other; ``ext``
        goes with the handshake.  Each is a mapping, or a callable, asked before
        every handshake, that gives one, or a Deferred or coroutine of one.
    :param extensions: see :mod:`txbayeux.extension`; ``request`` is None.
    :param retry: the waits between attempts.
    :param network_delay: seconds a reply may take, beyond the time for which the
        server was asked to hold it.
    :param ping_interval: seconds of silence before a socket is pinged.
    :param tls: makes the TLS connections; by default certificates are verified
        against the platform's roots.  :class:`txbayeux.transport.tls.TLSPolicy` is one.
    :param proxy: URL of an HTTP proxy; the environment is never asked.
    :param compression: whether to offer permessage-deflate.
    :param random: gives numbers from 0 up to 1, for the jitter; for tests.

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
        randomness = random or random_module.random  # spreads load, hides nothing
        self._closed = False
        self._refusal: Exception | None = None
        self._failure: Exception | None = None
        self._observers = Observers()
        self._subscriptions = Subscriptions()
        self._outbox = Outbox()
        self._dispatcher = Dispatcher(self._came)
        for extension in extensions:
            self._dispatcher.add_extension(extension)
        self._selector = TransportSelector(
            context,
            factories(transports),
            self._dispatcher.received,
            self._broken,
            None if user is None else basic_authorization(user),
        )
        listener = SessionListener(
            session_began=self._session_began,
            sendable=self._pump,
            refused=self._refused,
            troubled=self._troubled,
        )
        self._connection = Connection(
            reactor,
            listener,
            selector=self._selector,
            dispatcher=self._dispatcher,
            hooks=CredentialsProvider(headers, cookies, ext),
            retry=retry,
            random=randomness,
            changed=self._observers.changed,
        )
        self._post = Sender(
            reactor,
            self._outbox,
            dispatcher=self._dispatcher,
            connection=self._connection,
            selector=self._selector,
            backoff=Backoff(retry, randomness),
            troubled=self._troubled,
        )

    @classmethod
    def in_process(cls, server: Processor, **options: Any) -> Client:
        """Make a client of a server in this process: no network, no HTTP.

        ``options`` are those of the class, as far as they make sense.
        """
        transports = {"in-process": in_process(server)}
        return cls("http://localhost/", transports=transports, **options)

    def __repr__(self) -> str:
        return f"<Client {self.url} {self.state.value}>"

    # What the user sees.

    @property
    def url(self) -> str:
        """The server's URL, without user and password."""
        return self.endpoint.url

    @property
    def endpoint(self) -> ServerURL:
        """The server's URL, taken apart."""
        return self._selector.home

    @property
    def state(self) -> State:
        """Where the client stands."""
        return self._connection.state

    @property
    def session_id(self) -> str | None:
        """The ``clientId`` that the server gave; None without a session."""
        return self._connection.session

    @property
    def transport(self) -> str:
        """The connection type in use, or about to be used."""
        return self._selector.name

    @property
    def last_failure(self) -> Exception | None:
        """What was recovered from last; None if nothing went wrong."""
        return self._failure

    @property
    def pending(self) -> int:
        """How many messages the server has not accepted yet."""
        return len(self._outbox)

    def add_extension(self, extension: Extension) -> None:
        """Install an extension behind those that are there."""
        self._dispatcher.add_extension(extension)

    def on_state(self, listener: StateListener) -> Callable[[], None]:
        """Call ``listener(new, old)`` after each change; give what ends that."""
        return self._observers.states(listener)

    def on_up(self, listener: Callable[[], Any]) -> Callable[[], None]:
        """Call ``listener()`` when connects begin to succeed; give what ends that."""
        return self._observers.up(listener)

    def on_down(self, listener: Callable[[], Any]) -> Callable[[], None]:
        """Call ``listener()`` when that ends, for whatever reason."""
        return self._observers.down(listener)

    def on_failure(self, listener: Callable[[Exception], Any]) -> Callable[[], None]:
        """Call ``listener(error)`` for each failure that the client recovers from."""
        return self._observers.failures(listener)

    # What the user does.

    def connect(self) -> Deferred[None]:
        """Seek a session now; fires when connects succeed.

        After a refusal, tries once more.  Fails with
        :class:`~txbayeux.errors.BayeuxError` if the server refuses for good, and
        with :class:`~txbayeux.client.Closed` after :meth:`disconnect`.
        """
        if self._closed:
            return fail(Closed(channels.CONNECT))
        if self.state is State.CONNECTED:
            return succeed(None)
        self._refusal = None
        connected = self._observers.connected()
        self._connection.start()
        return connected

    def subscribe(self, channel: str, listener: Listener | None = None) -> Subscription:
        """Listen to a channel or pattern, whatever happens to the connection.

        Without a ``listener`` the subscription is an asynchronous iterator.
        Whether the server agrees tells :attr:`Subscription.ready`, which fails
        with :class:`~txbayeux.errors.BayeuxError` 405 if ``channel`` is neither a
        name nor a pattern.
        """
        subscription = Subscription(channel, listener, self._unsubscribe)
        if self._closed:
            subscription.closed(Closed(str(channel)))
        elif not (channels.is_name(channel) or channels.is_pattern(channel)):
            subscription.closed(channel_invalid(str(channel)))
        elif self._refusal is not None:
            subscription.closed(self._refusal)
        else:
            channel_subscription = self._subscriptions.add(subscription)
            if channel_subscription is not None:
                self._outbox.put(subscribing(channel_subscription, self._subscriptions))
            self._go()
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
        Deferred ends that; what was sent may arrive.

        :param data: anything that JSON has a form for; taken as it is now.
        :param attempts: how often to send it at most, from 1; None for no limit.
        :param deadline: seconds after which to give up, from 0; None for never.

        Fails with :class:`~txbayeux.errors.BayeuxError` if the server refuses it
        (405 without asking it, if ``channel`` is no channel name); with its
        subclasses :class:`~txbayeux.client.PublishTimeout`,
        :class:`~txbayeux.client.OutboxFull` and :class:`~txbayeux.client.Closed`; with
        :exc:`TypeError` or :exc:`ValueError` for data that is no JSON, or such limits.
        """
        if not channels.is_name(channel) or channels.is_meta(channel):
            return fail(channel_invalid(str(channel)))
        if self._closed:
            return fail(Closed(channel))
        if self._refusal is not None:
            return fail(self._refusal)
        if len(self._outbox) >= MAX_WAITING:
            return fail(OutboxFull(channel))
        fields: Message = {"channel": channel}
        try:
            publication = Publication(self._reactor, deadline, self._abandon)
            encoded = msgspec.json.encode(data)
            envelope = Envelope(fields, publication, encoded, attempts)
            if ext is not None:
                fields["ext"] = msgspec.json.decode(encode(dict(ext)))
        except (TypeError, ValueError, RecursionError) as error:
            return fail(error)
        publication.begin(envelope)
        self._outbox.put(envelope)
        self._go()
        return publication.result

    def disconnect(self) -> Deferred[None]:
        """End the session and everything else; fires when nothing is left.

        What the server has not accepted by then fails with
        :class:`~txbayeux.client.Closed`.  A disconnected client stays so.
        """
        self._closed = True
        for envelope in self._outbox.unsettled():
            if not envelope.attempts:
                self._abandon(envelope, Closed(envelope.fields["channel"]))
        for subscription in self._subscriptions.take():
            subscription.closed(Closed(subscription.channel))

        def stopped(result: None) -> None:
            for envelope in self._outbox.unsettled():
                self._abandon(envelope, Closed(envelope.fields["channel"]))
            self._post.stop()

        return self._connection.stop().addCallback(stopped)

    # What the rest of the client calls.

    def _go(self) -> None:
        self._connection.start()
        self._pump()

    def _pump(self) -> None:
        self._post.pump()

    def _unsubscribe(self, subscription: Subscription) -> None:
        channel_subscription = self._subscriptions.remove(subscription)
        if channel_subscription is None or channel_subscription.envelope is None:
            return
        self._outbox.settle(channel_subscription.envelope)
        if (
            channel_subscription.envelope.attempts
            and self._connection.session is not None
        ):
            self._outbox.put(unsubscribing(channel_subscription))
            self._post.pump()

    def _abandon(self, envelope: Envelope, error: Exception) -> None:
        if self._outbox.settle(envelope):
            envelope.then.abandoned(error)

    def _broken(self, transport: Transport, error: TransportError) -> None:
        self._connection.broken(transport, error)

    def _came(self, message: Message) -> None:
        if channels.is_meta(message["channel"]):
            self._connection.unsolicited(message)
        elif "data" in message:
            self._connection.deliveries += 1
            self._subscriptions.deliver(message)

    def _session_began(self) -> None:
        for envelope in self._outbox.unsettled():
            if channels.is_meta(envelope.fields["channel"]):
                self._outbox.settle(envelope)
        again = [
            subscribing(channel_subscription, self._subscriptions)
            for channel_subscription in self._subscriptions.all()
        ]
        self._outbox.put_first(again)

    def _refused(self, error: Exception) -> Callable[[], None]:
        self._refusal = error
        envelopes = [e for e in self._outbox.unsettled() if self._outbox.settle(e)]
        subscriptions = self._subscriptions.take()
        connecting = self._observers.take()
        self._post.stop()

        def tell() -> None:
            for envelope in envelopes:
                envelope.then.abandoned(error)
            for subscription in subscriptions:
                subscription.closed(error)
            for waiting in connecting:
                if not waiting.called:
                    waiting.errback(error)
            self._troubled(error)

        return tell

    def _troubled(self, error: Exception) -> None:
        self._failure = error
        # Text, not objects: whoever keeps the log must not keep the client.
        _log.info("{client}: {error}", client=repr(self), error=str(error))
        self._observers.failed(error)
