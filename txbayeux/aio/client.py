"""The client and its subscriptions, for asyncio.

All of the protocol is in :mod:`txbayeux.client`; here Deferreds become awaitables.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from twisted.internet.defer import Deferred

from txbayeux.aio.awaitables import Tasks, future_of, wait_for
from txbayeux.aio.reactor import ClientReactor
from txbayeux.client import Client as TwistedClient
from txbayeux.client import State
from txbayeux.client import Subscription as TwistedSubscription
from txbayeux.client.listeners import FailureListener, StateListener
from txbayeux.client.subscription import Listener
from txbayeux.extension import Extension
from txbayeux.message import Message
from txbayeux.registration import Registration
from txbayeux.transport.url import ServerURL

__all__ = ["Client", "Subscription"]

GRACE: Final = 5.0
"""Seconds that coroutines of listeners have to end after a disconnect."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Method = Callable[Concatenate[Any, _P], _R]


def _arguments_of(
    original: Callable[Concatenate[Any, _P], Any],
) -> Callable[[Callable[..., _R]], _Method[_P, _R]]:
    """Declare that a method takes the arguments of ``original``."""

    def declare(method: Callable[..., _R]) -> _Method[_P, _R]:
        signature = inspect.signature(original)
        returned = inspect.signature(method).return_annotation
        declared: Any = method
        declared.__signature__ = signature.replace(return_annotation=returned)
        return declared  # type: ignore[no-any-return]

    return declare


class Subscription:
    """One listener's subscription to a channel or pattern.

    Without a listener it is an asynchronous iterator over its messages, for one
    reader at a time; see :class:`txbayeux.client.Subscription` for how it ends.

    ``async with client.subscribe(channel) as subscription`` waits until it is
    :meth:`ready`, and cancels it at the end.

    Made by :meth:`Client.subscribe`.
    """

    def __init__(self, subscription: TwistedSubscription) -> None:
        self._subscription = subscription
        self._next: asyncio.Future[Message] | None = None
        """A message that came at the moment in which its reader was cancelled."""

    @property
    def channel(self) -> str:
        """The channel or pattern."""
        return self._subscription.channel

    @property
    def active(self) -> bool:
        """Whether messages may still arrive."""
        return self._subscription.active

    async def ready(self) -> None:
        """Wait for the server's answer.

        :raises BayeuxError: if the server refused the subscription; its subclass
            :class:`~txbayeux.client.Closed` if it was cancelled, or the client was
            disconnected, before there was an answer.
        """
        await wait_for(self._subscription.ready)

    def cancel(self) -> None:
        """Remove the listener.  Calling it again changes nothing."""
        self._subscription.cancel()

    async def __aenter__(self) -> Self:
        try:
            await self.ready()
        except BaseException:
            self.cancel()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.cancel()

    def __aiter__(self) -> Subscription:
        self._subscription.__aiter__()  # raises if there is a listener
        return self

    async def __anext__(self) -> Message:
        future = self._next
        if future is None:
            reading = Deferred.fromCoroutine(self._subscription.__anext__())
            future = future_of(reading)
            try:
                if not future.done():
                    await asyncio.wait([future])  # does not cancel it, as await would
            except asyncio.CancelledError:
                if future.done() and future.exception() is None:
                    self._next = future
                reading.cancel()
                raise
        self._next = None
        return future.result()


class Client:
    """A client of one Bayeux server, which connects when it is first used.

    It takes the arguments of :class:`txbayeux.client.Client`, all but ``reactor``, and
    does the same.  Listeners and sources of credentials may be coroutine functions
    that await what is asyncio's, and so may the hooks of extensions.

    ``async with Client(url) as client`` disconnects at the end; without that, call
    :meth:`disconnect`.  The end of ``asyncio.run`` disconnects, too.  A client can be
    made before there is an event loop, and then belongs to the one in which it is
    used first: from another one, or another thread, its methods raise
    :exc:`RuntimeError`.
    """

    @_arguments_of(TwistedClient.__init__)
    def __init__(self, url: str, **options: Any) -> None:
        if "reactor" in options:
            raise TypeError("a client for asyncio has a reactor of its own")
        self._reactor = ClientReactor(self)
        self._tasks = Tasks()
        for name in ("headers", "cookies", "ext"):
            if name in options:
                options[name] = self._tasks.source(options[name])
        added = map(self._tasks.extension, options.pop("extensions", ()))
        self._client = TwistedClient(
            url, reactor=self._reactor, extensions=list(added), **options
        )
        self._begun = False
        self._end: AsyncGenerator[None] | None = None

    def __repr__(self) -> str:
        return repr(self._client)

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.disconnect()

    # What there is.

    @property
    def url(self) -> str:
        """The server's URL, without user and password."""
        return self._client.url

    @property
    def endpoint(self) -> ServerURL:
        """The server's URL in its parts."""
        return self._client.endpoint

    @property
    def state(self) -> State:
        """The state of the session."""
        return self._client.state

    @property
    def session_id(self) -> str | None:
        """The ``clientId`` that the server assigned; None without a session."""
        return self._client.session_id

    @property
    def transport(self) -> str:
        """The connection type in use, or about to be used."""
        return self._client.transport

    @property
    def last_failure(self) -> Exception | None:
        """The last error that :meth:`on_failure` reports; None if there was none."""
        return self._client.last_failure

    @property
    def pending(self) -> int:
        """How many publishes and subscriptions the server has not answered yet."""
        return self._client.pending

    @property
    def unprocessed(self) -> int:
        """How many messages have arrived and have not been processed."""
        return self._client.unprocessed

    def add_extension(self, extension: Extension) -> None:
        """Install an extension behind those that are there."""
        self._client.add_extension(self._tasks.extension(extension))

    def on_state(self, listener: StateListener) -> Registration:
        """Call ``listener(new, old)`` after each change of :attr:`state`."""
        return self._client.on_state(self._tasks.listener(listener))

    def on_up(self, listener: Callable[[], Any]) -> Registration:
        """Call ``listener()`` when connects begin to succeed."""
        return self._client.on_up(self._tasks.listener(listener))

    def on_down(self, listener: Callable[[], Any]) -> Registration:
        """Call ``listener()`` when connects cease to succeed, for whatever reason."""
        return self._client.on_down(self._tasks.listener(listener))

    def on_failure(self, listener: FailureListener) -> Registration:
        """Call ``listener(error)`` for each failure, as the Twisted client does."""
        return self._client.on_failure(self._tasks.listener(listener))

    # Operations.

    async def connect(self) -> None:
        """Begin a session now; return when connects succeed.

        Cancelling it ends the waiting, not the session.

        :raises BayeuxError: if the server refuses for good; its subclass
            :class:`~txbayeux.client.Closed` after :meth:`disconnect`.
        """
        self._begin()
        await wait_for(self._client.connect())

    @_arguments_of(TwistedClient.subscribe)
    def subscribe(
        self, channel: str, listener: Listener | None = None, **options: Any
    ) -> Subscription:
        """Subscribe to a channel or pattern, in this session and those after it.

        Without a ``listener`` the subscription is an asynchronous iterator.
        """
        self._begin()
        if listener is not None:
            listener = self._tasks.listener(listener)
        return Subscription(self._client.subscribe(channel, listener, **options))

    @_arguments_of(TwistedClient.publish)
    async def publish(self, channel: str, data: Any, **options: Any) -> Message:
        """Publish; return the server's reply.

        Cancelling it ends the attempts; a message that was sent may still arrive.
        Otherwise as :meth:`txbayeux.client.Client.publish`, with the same errors.
        """
        self._begin()
        return await wait_for(self._client.publish(channel, data, **options))

    async def disconnect(self) -> None:
        """End the session and close everything; return when nothing is left.

        Coroutines of listeners have :data:`GRACE` seconds to end, then they are
        cancelled.  Cancelling this does not stop the disconnect.
        """
        self._reactor.loop.check()
        await self._close()
        end, self._end = self._end, None
        if end is not None:
            await end.aclose()

    async def _close(self) -> None:
        await future_of(self._client.disconnect())
        self._reactor.loop.release()
        await self._tasks.finish(GRACE)

    def _begin(self) -> None:
        self._reactor.loop.check()
        if not self._begun:
            self._begun = True
            self._end = self._until_the_end()
            with suppress(StopIteration):
                self._end.__anext__().send(None)  # runs to its yield

    async def _until_the_end(self) -> AsyncGenerator[None]:
        """Disconnect at the end of ``asyncio.run``.

        It closes asynchronous generators when all tasks have ended.
        """
        try:
            yield
        finally:
            await self._close()
