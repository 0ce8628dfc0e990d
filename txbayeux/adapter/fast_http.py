"""The fast door of our own ports: polls and upgrades without ``twisted.web``.

Nearly all requests that a busy service gets are small plain POSTs to its mount.
This protocol serves those, and upgrades to WebSocket, with the same resource;
at the first request that is anything else it hands the connection to
``twisted.web``, with every byte since that request's beginning.  What is
malformed is anything else too: whom to refuse, and how, is decided in one place.

A poll costs 25 µs here where it costs 90 in ``twisted.web``.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from txbayeux.adapter.body import TooLarge
from txbayeux.adapter.head import Head, could_become_ours, read_head
from txbayeux.adapter.io import Watched, has_closed, replace_protocol, write_now
from txbayeux.adapter.poll import Poll, answer_text
from txbayeux.adapter.response import (
    REQUEST_TIMEOUT,
    REQUEST_TIMEOUT_RESPONSE,
    Exchange,
    refuse,
)
from txbayeux.adapter.terms import Terms
from txbayeux.message import Malformed

if TYPE_CHECKING:
    from txbayeux.adapter.fronts import FastHTTPFactory

__all__ = ["FastHTTPProtocol"]

_EAGER: Final = 0x4000
"""Bytes that are read while a request waits for its answer: twisted.web's figure."""

_log: Final = Logger()


@implementer(IPushProducer, IHalfCloseableProtocol)
class FastHTTPProtocol(Protocol):
    """One connection, as long as it asks for nothing but polls."""

    factory: FastHTTPFactory
    transport: Any
    persistent = True
    """Whether the connection goes on after the present answer."""
    secure = False

    _pending: Poll | Exchange | None = None  # what waits for its answer
    _exchange: Exchange | None = None
    _watched: Watched | None = None
    _terms: Terms | None = None
    _head: Head | None = None  # of the request whose body is still to come
    _last: Head | None = None
    _answering = False
    _parting = False
    _stuck = False  # the peer does not read what is written to it
    _heard = 0.0  # when something went on here the last time
    _begun = 0.0  # when the request that is still coming did

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def connectionMade(self) -> None:
        """Hear that the connection is there."""
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self.secure = ISSLTransport(transport, None) is not None
        transport.registerProducer(self, True)
        self._heard = self.factory.seconds()
        self.factory.opened(self)

    @cached_property
    def address(self) -> IAddress:
        """Where requests come from; where a proxy tells (PROXY), it does so first."""
        address: IAddress = self.transport.getPeer()
        return address

    def dataReceived(self, data: bytes) -> None:
        """Read what the client sent."""
        if self._parting:
            return
        last = self._last
        if (
            last is not None
            and not (self._size or self._stuck or self._pending)
            and len(data) == last.size + last.body
            and data.startswith(last.text)
        ):
            # Nearly always: one whole request, with the head of the one before.
            self._serve(last, data[last.size :])
            return
        self._heard = self.factory.seconds()
        if not self._size:
            self._begun = self._heard
        elif self._pending is None and self._heard - self._begun > REQUEST_TIMEOUT:
            self.transport.write(REQUEST_TIMEOUT_RESPONSE)
            self.part()
            return
        self._parts.append(data)
        self._size += len(data)
        if self._pending is not None:
            if self._size > _EAGER:
                self.transport.pauseProducing()
        elif self._head is None or self._size >= self._head.size + self._head.body:
            self._answer()

    def readConnectionLost(self) -> None:
        """Hear that the client has closed its end; close ours when there is time."""
        self._parting = True
        self.factory.work_queue.add(self._hang_up)

    def writeConnectionLost(self) -> None:
        """Hear what only a protocol that closes its own end first would hear."""

    def _hang_up(self) -> None:
        # As Twisted does at once where a protocol does not ask for the above.
        if self.transport is not None:
            self.transport.connectionLost(connectionDone)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hear that it is gone."""
        pending = self._leave()
        if pending is not None:
            pending.lost(reason)

    def _answer(self) -> None:
        """Answer what can be, one request after the other."""
        if self._answering:
            return
        self._answering = True
        while self._size and self._pending is None and not self._waits():
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts, self._size = [data], len(data)
            head = self._head or self._next(data)
            if head is None:
                break
            end = head.size + head.body
            if len(data) < end:
                self._head = head
                break
            self._head = None
            self._parts, self._size = (
                ([], 0)
                if len(data) == end
                else (
                    [data[end:]],
                    len(data) - end,
                )
            )
            self._serve(head, data[head.size : end])
        self._answering = False

    def _waits(self) -> bool:
        return self._stuck or self._parting

    def _next(self, data: bytes) -> Head | None:
        """Read the next request's head, if it is there and ours."""
        last = self._last
        # Clients repeat theirs to the byte: 1 µs instead of 6.
        if last is not None and data.startswith(last.text):
            return last
        if b"\r\n\r\n" not in data and could_become_ours(data):
            return None
        head = read_head(data)
        if head is not None and self.factory.takes(head):
            self._last = head
            self._terms = self.factory.resource.terms(self._poll(head, b""))
            return head
        self._hand_over(data)
        return None

    def _serve(self, head: Head, body: bytes) -> None:
        """Hand a request's messages on; whatever is not plain goes to the resource."""
        terms, processor = self._terms, self.factory.resource.processor
        if terms is None or processor is None:
            self._render(head, body)
            return
        try:
            messages = terms.read(body)
        except (Malformed, TooLarge):
            self._render(head, body)
            return
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = Exchange(self)
            self._watched = self.factory.closing.add(self.transport)
        self._pending = exchange
        try:
            exchange.begin(processor.process(messages, terms.source))
        except Exception:
            _log.failure("Answering a request failed")
            self.fail()

    def answer(self, body: bytes) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        if self._terms is not None and self.transport is not None:
            write_now(self.transport, answer_text(b"200 OK", self._terms.head, body))
            self.done()

    def fail(self) -> None:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        if self._last is not None and self.transport is not None:
            self._refuse(self._poll(self._last, b""))

    def left(self, turn: int | None) -> bool:
        """See :class:`~txbayeux.adapter.response.ResponseWriter`."""
        if self.transport is None:
            return False
        if self._parting:
            return True
        watched = self._watched
        gone = (
            has_closed(self.transport)
            if watched is None
            else self.factory.closing.has_closed(watched, turn)
        )
        if gone:
            self.part()
        return gone

    def _poll(self, head: Head, body: bytes) -> Poll:
        return Poll(self, head, body, self.factory.mount)

    def _refuse(self, poll: Poll) -> None:
        request: Any = poll
        self.persistent = False
        poll.write(refuse(request, 500, "Internal server error"))
        poll.finish()

    def _render(self, head: Head, body: bytes) -> None:
        poll = self._pending = self._poll(head, body)
        request: Any = poll
        try:
            answer = self.factory.resource.render(request)
        except Exception:
            _log.failure("Answering a request failed")
            if not poll.finished and self.transport is not None:
                self._refuse(poll)
            return
        if isinstance(answer, bytes):
            poll.write(answer)
            poll.finish()

    def done(self) -> None:
        """Hear that a request has been answered."""
        self._pending = None
        self._heard = self._begun = self.factory.seconds()
        if not self.persistent:
            self.part()
        elif self._size:
            self._read_on()

    def _read_on(self) -> None:
        if not self._waits():
            self.transport.resumeProducing()
            self._answer()

    # The transport's word on the peer, who may ask and never read the answers

    def pauseProducing(self) -> None:
        """Hear that it does not keep up; ask it for nothing more meanwhile."""
        self._stuck = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Hear that it has read all that was written."""
        self._stuck = False
        if self.transport is None:
            return
        self._heard = self.factory.seconds()
        if self._pending is None:
            self._read_on()
        elif self._size <= _EAGER:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Hear that the connection closes; its loss is told separately."""

    # The end

    def sweep(self, earliest: float) -> None:
        """End the connection if nothing has gone on here since ``earliest``."""
        if self._parting:
            self.transport.abortConnection()
        elif self._pending is None and self._heard <= earliest:
            self.part()

    def release(self, successor: Any) -> Any:
        """Give the connection, and what comes on it, to another protocol."""
        transport = self.transport
        self._leave()
        transport.unregisterProducer()
        replace_protocol(transport, successor)
        return transport

    def rest(self) -> bytes:
        """Give what has been read and not been looked at."""
        data, self._parts, self._size = b"".join(self._parts), [], 0
        return data

    def part(self) -> None:
        """Close the connection; the next sweep cuts one that does not come to it."""
        self._parting = True
        self.transport.unregisterProducer()  # it would be waited for
        self.transport.loseConnection()

    def _leave(self) -> Poll | Exchange | None:
        self._parting = True
        pending, self._pending = self._pending, None
        self._head = self._exchange = None
        watched, self._watched = self._watched, None
        if watched is not None:
            self.factory.closing.remove(watched)
        self.transport = None
        self.factory.closed(self)
        return pending

    def _hand_over(self, data: bytes) -> None:
        channel = self.factory.site.buildProtocol(self.address)
        transport = self.release(channel)
        channel.makeConnection(transport)
        channel.dataReceived(data)
