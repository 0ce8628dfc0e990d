"""HTTP as the polling transports share it: keep-alive, cookies, redirects, bounds.

Made of treq's client over Twisted's Agent.  Redirects are followed here, not
by treq: only within the origin, with the method and body that they had, so
that a request's cookies, Authorization and messages never reach another one.
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
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from txbayeux.transport.base import Context, NoReply, ReplyTimeout
from txbayeux.transport.endpoints import EndpointFactory
from txbayeux.transport.failures import explained
from txbayeux.transport.url import ServerURL

__all__ = ["Http", "reading"]

_REDIRECTS: Final = frozenset({301, 302, 307, 308})
"""303 is not among them: it wants a GET, and no Bayeux message is sent by that."""
_MAX_REDIRECTS: Final = 5
"""Precedent: curl's users set 5 to 10; a Bayeux endpoint needs one."""
_PERSISTENT: Final = 3
"""A held connect, a batch of messages, and the disconnect that ends both."""
_IDLE_SECONDS: Final = 60
_MAX_DISCARDED: Final = 64 * 1024
"""How much of an error page is read; of a larger one, the connection is dropped."""


class Http:
    """Requests to one server, on connections of its own."""

    def __init__(self, context: Context, agent: IAgent | None = None) -> None:
        """:param agent: what sends requests; made from ``context`` by default."""
        self._context = context
        self._pool = HTTPConnectionPool(context.reactor, persistent=True)
        self._pool.maxPersistentPerHost = _PERSISTENT
        self._pool.cachedConnectionTimeout = _IDLE_SECONDS
        # The agent would repeat a GET by itself; repeating is the client's business.
        self._pool.retryAutomatically = False
        self._endpoint_factory = EndpointFactory(
            context.reactor,
            tls=context.tls,
            proxy=context.proxy,
            timeout=context.network_delay,
        )
        if agent is None:
            agent = Agent.usingEndpointFactory(
                context.reactor, self._endpoint_factory, self._pool
            )
        self._client = HTTPClient(
            _Tidying(agent), cookiejar=context.jar, data_to_body_producer=_Body
        )
        self._under_way: set[Deferred[Any]] = set()

    def request(
        self,
        method: str,
        endpoint: ServerURL,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
    ) -> Deferred[bytes]:
        """Give the body of a 200 answer, whole, within ``timeout`` seconds.

        Fails with :class:`TransportError`.  Cancelling it aborts the connection.
        """

        def read(response: IResponse) -> Deferred[bytes]:
            return reading(response, self._context.max_response)

        asking = self.respond(method, endpoint, headers, body).addCallback(read)
        return self._bounded(asking, timeout)

    def open(
        self, endpoint: ServerURL, headers: Mapping[str, str], timeout: float
    ) -> Deferred[IResponse]:
        """Give the head of a 200 answer to a GET; its body is the caller's.

        Fails with :class:`TransportError`, also if it takes ``timeout`` seconds.
        """
        return self._bounded(self.respond("GET", endpoint, headers, None), timeout)

    def respond(
        self,
        method: str,
        endpoint: ServerURL,
        headers: Mapping[str, str],
        body: bytes | None,
        redirects: int = _MAX_REDIRECTS,
    ) -> Deferred[IResponse]:
        """Send a request, following redirects within the origin."""
        merged = Headers()
        for source in (self._context.headers_for(endpoint), headers):
            for name, value in source.items():
                merged.setRawHeaders(name, [value])

        def check(response: Any) -> Any:
            original: IResponse = response.original
            if original.code == 200:
                return original
            # Read to the end, so that the connection can be used again.  Given up
            # meanwhile, it is not followed: nothing would bound that any more.
            ended: Deferred[Any] = reading(original, _MAX_DISCARDED)
            ended.addErrback(lambda failure: failure.trap(NoReply))
            return ended.addCallback(lambda _: follow(original))

        def follow(response: IResponse) -> Deferred[IResponse]:
            location = response.headers.getRawHeaders(b"Location")
            if response.code in _REDIRECTS and location:
                target = _redirected(endpoint, location[0], redirects)
                return self.respond(method, target, headers, body, redirects - 1)
            raise NoReply(f"HTTP status {response.code}", response.code)

        sent: Deferred[Any] = maybeDeferred(  # a policy for TLS may raise
            self._client.request,
            method,
            _Url.from_text(endpoint.url),
            headers=merged,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._context.reactor,
        )
        return sent.addCallback(check)

    def _bounded(self, asking: Deferred[Any], timeout: float) -> Deferred[Any]:
        def silent(result: object, seconds: float) -> object:
            raise ReplyTimeout(f"no answer within {seconds:g} s")

        def done(result: object) -> object:
            self._under_way.discard(asking)
            return result

        self._under_way.add(asking)
        asking.addTimeout(timeout, self._context.reactor, silent)
        return asking.addErrback(_failed).addBoth(done)

    def close(self) -> Deferred[None]:
        """Abort requests, close idle connections; fires when they are closed."""
        for asking in list(self._under_way):
            asking.cancel()
        idle: Deferred[None] = self._pool.closeCachedConnections()
        return gatherResults([idle, self._endpoint_factory.abort()]).addCallback(
            lambda _: None
        )


def _redirected(endpoint: ServerURL, location: bytes, redirects: int) -> ServerURL:
    try:
        target = endpoint.joined(location.decode("ascii"))
    except (ValueError, UnicodeDecodeError):
        raise NoReply("a redirect that leads nowhere") from None
    if target.origin != endpoint.origin:
        # Its messages would carry the session and tokens there.
        raise NoReply(
            f"a redirect to another origin: {target.scheme}://{target.netloc}"
        )
    if redirects == 0:
        raise NoReply("too many redirects")
    return target


def _failed(failure: Failure) -> Failure:
    return Failure(explained(failure))


def reading(response: IResponse, limit: int) -> Deferred[bytes]:
    """Read a body of at most ``limit`` bytes.

    Fails with :class:`NoReply` if it is larger or ends too early.  Cancelling
    it aborts the connection.
    """
    collecting = _Collecting(limit)
    response.deliverBody(collecting)
    return collecting.done


class _Collecting(Protocol):
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
            self.done.errback(NoReply(f"the answer is larger than {self._limit} bytes"))
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(bytes(self._body))
        else:
            # Also PotentialDataLoss: without a length nobody knows whether it is whole.
            self.done.errback(NoReply("the answer ended too early"))

    def _abort(self) -> None:
        # The response's transport; connections of the endpoint factory can abort.
        lose = getattr(self.transport, "loseConnection", None)
        if lose is not None:
            lose()


class _Url(EncodedURL):
    """A URL that is encoded; treq would do that again, and fail at IPv6."""

    def to_uri(self) -> _Url:
        return self


@implementer(IAgent)
class _Tidying:
    """Drops headers that what stands above would choke on.

    Cookies that are no ASCII: the jar's reader would raise at them.  Encodings of
    encodings: each unpacks to a thousand times its size before it can be measured.
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
        def tidy(response: IResponse) -> IResponse:
            found = response.headers.getRawHeaders(b"Set-Cookie", [])
            kept = [line for line in found if line.isascii()]
            response.headers.setRawHeaders(b"Set-Cookie", kept)
            encodings = response.headers.getRawHeaders(b"Content-Encoding", [])
            if b"," in b",".join(encodings):
                response.headers.removeHeader(b"Content-Encoding")
            return response

        asking = self._agent.request(method, uri, headers, bodyProducer)
        return asking.addCallback(tidy)


@implementer(IBodyProducer)
class _Body:
    """A body that is there already; treq's own wants the global reactor."""

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
