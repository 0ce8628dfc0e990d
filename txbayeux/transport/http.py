"""HTTP requests of the polling transports: keep-alive, cookies, redirects, limits.

Built on treq's client and Twisted's Agent.  Redirects are followed here, not by
treq: only within the origin, and with the same method and body, so that a
request's cookies, Authorization and messages never reach another origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from txbayeux.transport.base import Context, NoReply, ReplyTimeout
from txbayeux.transport.endpoints import EndpointFactory
from txbayeux.transport.failures import to_transport_error
from txbayeux.transport.url import ServerURL

__all__ = ["Http", "read_body"]

_REDIRECTS: Final = frozenset({301, 302, 307, 308})
"""Without 303, which asks for a GET: that carries no Bayeux messages."""
_DEFAULTS: Final = {"Accept": "application/json, */*"}
"""Headers unless the user gives others.  Cumulocity answers without a body if there
is no Accept."""
_MAX_REDIRECTS: Final = 5
"""A Bayeux endpoint needs one."""
_PERSISTENT: Final = 3
"""Connections kept open: for a held connect, a batch, and a disconnect."""
_IDLE_SECONDS: Final = 60
_MAX_DISCARDED: Final = 64 * 1024
"""Bytes of an error page that are read; if it is larger, the connection is closed."""


class Http:
    """Requests to one server, on a connection pool of its own."""

    def __init__(
        self, context: Context, endpoint_factory: EndpointFactory | None = None
    ) -> None:
        """:param endpoint_factory: made from ``context`` by default."""
        self._context = context
        self._pool = HTTPConnectionPool(context.reactor, persistent=True)
        self._pool.maxPersistentPerHost = _PERSISTENT
        self._pool.cachedConnectionTimeout = _IDLE_SECONDS
        # The agent would retry a GET by itself; retrying is up to the client.
        self._pool.retryAutomatically = False
        self._endpoint_factory = endpoint_factory or EndpointFactory(
            context.reactor,
            tls=context.tls,
            proxy=context.proxy,
            timeout=context.network_delay,
        )
        agent = Agent.usingEndpointFactory(
            context.reactor, self._endpoint_factory, self._pool
        )
        self._client = HTTPClient(
            _HeaderFilter(agent),
            cookiejar=context.jar,
            data_to_body_producer=_BytesProducer,
        )
        self._requests: set[Deferred[Any]] = set()

    def request(
        self,
        method: str,
        endpoint: ServerURL,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Deferred[bytes]:
        """Send a request; fires with the body of a 200 response.

        Fails with :class:`TransportError`, at the latest after ``timeout`` seconds.
        Cancelling it aborts the connection.
        """

        def read(response: IResponse) -> Deferred[bytes]:
            return read_body(response, self._context.max_response)

        asking = self._send(method, endpoint, headers, body).addCallback(read)
        return self._bounded(asking, timeout)

    def open(
        self, endpoint: ServerURL, headers: Mapping[str, str], timeout: float
    ) -> Deferred[IResponse]:
        """Send a GET; fires with the head of a 200 response.

        The caller reads the body.  Fails with :class:`TransportError`, at the latest
        after ``timeout`` seconds.
        """
        return self._bounded(self._send("GET", endpoint, headers, None), timeout)

    def _send(
        self,
        method: str,
        endpoint: ServerURL,
        headers: Mapping[str, str],
        body: bytes | None,
        asked: tuple[str, ...] = (),
    ) -> Deferred[IResponse]:
        """Send a request, following redirects within the origin.

        :param asked: the URLs that led here.
        """
        merged = Headers()
        for source in (_DEFAULTS, self._context.headers_for(endpoint), headers):
            for name, value in source.items():
                merged.setRawHeaders(name, [value])

        def check(response: Any) -> Any:
            original: IResponse = response.original
            if original.code == 200:
                return original
            # Read to the end, so that the connection can be used again.
            ended: Deferred[Any] = read_body(original, _MAX_DISCARDED)
            ended.addErrback(lambda failure: failure.trap(NoReply))
            return ended.addCallback(lambda _: follow(original))

        def follow(response: IResponse) -> Deferred[IResponse]:
            location = response.headers.getRawHeaders(b"Location")
            if response.code in _REDIRECTS and location:
                before = (*asked, endpoint.url)
                target = _redirected(endpoint, location[0], before)
                return self._send(method, target, headers, body, before)
            raise NoReply(f"HTTP status {response.code}", response.code)

        sent: Deferred[Any] = maybeDeferred(  # a TLS policy may raise
            self._client.request,
            method,
            _EncodedURL.from_text(endpoint.url),
            headers=merged,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._context.reactor,
        )
        return sent.addCallback(check)

    def _bounded(self, asking: Deferred[Any], timeout: float) -> Deferred[Any]:
        def timed_out(result: object, seconds: float) -> object:
            raise ReplyTimeout(f"no response within {seconds:g} s")

        def done(result: object) -> object:
            self._requests.discard(asking)
            return result

        self._requests.add(asking)
        asking.addTimeout(timeout, self._context.reactor, timed_out)
        return asking.addErrback(_failed).addBoth(done)

    def close(self) -> Deferred[None]:
        """Abort requests, close idle connections; fires when they are closed."""
        for asking in list(self._requests):
            asking.cancel()
        idle: Deferred[None] = self._pool.closeCachedConnections()
        return gatherResults([idle, self._endpoint_factory.abort()]).addCallback(
            lambda _: None
        )


def _redirected(
    endpoint: ServerURL, location: bytes, asked: tuple[str, ...]
) -> ServerURL:
    try:
        target = endpoint.joined(location.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        raise NoReply("a redirect to an invalid URL") from None
    if target.origin != endpoint.origin:
        # The messages carry the session and tokens.
        raise NoReply(
            f"a redirect to another origin: {target.scheme}://{target.netloc}"
        )
    if target.url in asked:
        raise NoReply("a redirect to a URL that redirects")
    if len(asked) > _MAX_REDIRECTS:
        raise NoReply("too many redirects")
    return target


def _failed(failure: Failure) -> Failure:
    return Failure(to_transport_error(failure))


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """Read a body of at most ``limit`` bytes.

    Fails with :class:`NoReply` if it is larger, or shorter than its length; without a
    length it may still be incomplete.  Cancelling it aborts the connection.
    """
    collector = _BodyCollector(limit)
    response.deliverBody(collector)
    return collector.done


class _BodyCollector(Protocol):
    def __init__(self, limit: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._limit = limit
        self._body = bytearray()  # not a list: pieces may be single bytes

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._body += data
        if len(self._body) > self._limit:
            self._body.clear()
            self.done.errback(
                NoReply(f"the response is larger than {self._limit} bytes")
            )
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        # PotentialDataLoss: without a length, the end of the connection is that of the
        # body (RFC 9112, 6.3).  Whether it is whole shows when the JSON is read.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(bytes(self._body))
        else:
            self.done.errback(NoReply("the response ended too early"))

    def _abort(self) -> None:
        # The transport of a response only closes; see endpoints._Connection.
        lose = getattr(self.transport, "loseConnection", None)
        if lose is not None:
            lose()


class _EncodedURL(EncodedURL):
    """An encoded URL; treq would encode it again, and fails for IPv6 addresses."""

    def to_uri(self) -> _EncodedURL:
        return self


@implementer(IAgent)
class _HeaderFilter:
    """Removes response headers that treq cannot handle safely.

    Non-ASCII cookies: the cookie jar raises.  Nested content encodings: each expands
    up to a thousand times before the size can be checked.
    """

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        def filter_headers(response: IResponse) -> IResponse:
            found = response.headers.getRawHeaders(b"Set-Cookie", [])
            kept = [line for line in found if line.isascii()]
            response.headers.setRawHeaders(b"Set-Cookie", kept)
            encodings = response.headers.getRawHeaders(b"Content-Encoding", [])
            if b"," in b",".join(encodings):
                response.headers.removeHeader(b"Content-Encoding")
            return response

        requesting = self._agent.request(method, uri, headers, bodyProducer)
        return requesting.addCallback(filter_headers)


@implementer(IBodyProducer)
class _BytesProducer:
    """A request body from bytes; treq's own producer needs the global reactor."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass
