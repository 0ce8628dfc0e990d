"""The service in a ``twisted.web`` tree: every transport at one URL, and below it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import IResource
from twisted.web.server import Request
from zope.interface import implementer

from txbayeux.adapter.body import TooLarge, form_fields, read_all, reader_of
from txbayeux.adapter.callback_polling import callback_name, script
from txbayeux.adapter.client_script import ClientScript
from txbayeux.adapter.eventsource import EventStreams
from txbayeux.adapter.origins import Origins
from txbayeux.adapter.request import HttpRequest, header_of, is_token
from txbayeux.adapter.response import answer_request, refuse
from txbayeux.adapter.terms import Terms
from txbayeux.adapter.websocket import WebSocketConnectionFactory
from txbayeux.adapter.websocket_handshake import upgrade
from txbayeux.interfaces import Clock
from txbayeux.limits import Limits
from txbayeux.message import Malformed
from txbayeux.protocol import Processor

if TYPE_CHECKING:
    from txbayeux.adapter.poll import Poll

__all__ = ["BayeuxResource"]

_POLLING: Final = "long-polling"
_ALLOWED_METHODS: Final = b"GET, POST, OPTIONS"
_JSON: Final = b"application/json;charset=utf-8"
# What Faye's and CometD's pages send.
_ALLOWED_HEADERS: Final = (
    "Accept, Authorization, Content-Type, Pragma, X-Requested-With"
)
_PREFLIGHT_AGE: Final = b"86400"  # seconds; Faye's
_MOST_TOLD: Final = 100
"""Different refusals that are logged, once each: anybody can make up more."""

_log: Final = Logger()


@implementer(IResource)
class BayeuxResource:
    """A leaf for any ``twisted.web`` tree.

    ======================================  =================================
    POST of JSON, or of a form's            long-polling, also from other
    ``message`` (one or several)            origins (CORS)
    GET with ``message`` and ``jsonp``      callback-polling
    GET ``<mount>/<session>``, accepting    EventSource
    ``text/event-stream``
    GET with ``Upgrade: websocket``         WebSocket
    GET ``<mount>/client.js``               Faye's browser client, if given
    ======================================  =================================

    It nests in any :class:`~twisted.web.server.Site`.  In a
    :class:`~txbayeux.adapter.site.BayeuxSite` polls are served four times as fast.
    A Site of another kind reads a body of any size into memory, unless it has
    :func:`~txbayeux.adapter.site.bounded_request` for its ``requestFactory``.

    :param reactor: for keep-alives, and to close connections in time.
    :param origins: whose pages may use the service.
    :param client_script: the JavaScript file to serve as ``client.js``.
    :param keep_alive: seconds between signs of life on idle sockets and streams.
    :param websocket_deflate: agree to permessage-deflate where a client offers it.
        It saves bandwidth and costs a copy of each message for each client.
    """

    isLeaf = True

    def __init__(
        self,
        server: Processor,
        reactor: Clock,
        *,
        limits: Limits | None = None,
        origins: Origins | None = None,
        client_script: Path | None = None,
        keep_alive: float = 25.0,
        websocket_deflate: bool = False,
    ) -> None:
        self._server = server
        self.limits = limits or Limits()
        self._origins = origins or Origins()
        self._script = None if client_script is None else ClientScript(client_script)
        self._stopping = False
        self._told: set[str] = set()
        self.processor: Processor | None = server
        """What polls are handed to; None once the service stops."""
        self._streams = EventStreams(server, reactor, keep_alive=keep_alive)
        self._sockets = WebSocketConnectionFactory(
            server,
            reactor,
            limits=self.limits,
            keep_alive=keep_alive,
            deflate=websocket_deflate,
        )

    def refuse_requests(self) -> None:
        """Answer whatever is asked from now on with 503, on a connection that ends.

        To be called when the service stops, before the server does: a client that
        is answered comes back at once on its connection, and would find a service
        that is about to forget it.
        """
        self._stopping = True
        self.processor = None

    def close(self) -> Deferred[None]:
        """End every event stream, and close every socket with 1001.

        Fires when the sockets are closed, at the latest after
        :data:`~txbayeux.adapter.sockets.CLOSE_TIMEOUT`.  Requests that wait for
        the server's answer are the server's to release.
        """
        self._streams.close()
        return self._sockets.close()

    # twisted.web's interface

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        """Never be asked: a leaf has no children."""
        raise LookupError(name)

    def putChild(self, path: bytes, child: IResource) -> None:
        """Refuse: a leaf has no children."""
        raise TypeError("BayeuxResource is a leaf: put the child beside it")

    def terms(self, request: Poll) -> Terms | None:
        """Say how POSTs with this head are served; None if :meth:`render` is to say.

        It judges them as :meth:`render` does, which is to be asked about whatever
        body cannot be read; they stand while ``processor`` is not None.
        """
        request_: Any = request
        reader = reader_of(header_of(request_.requestHeaders, "content-type"))
        if request.method != b"POST" or reader is None or self._refusal(request_):
            return None
        self._share(request_)
        _describe(request_, _JSON)
        source = HttpRequest(_POLLING, request.channel.address, request_.requestHeaders)
        return Terms(reader, self.limits, source, request.head())

    def render(self, request: Request) -> bytes | int:
        """Answer a request."""
        if self._stopping:
            channel: Any = request.channel
            if hasattr(channel, "persistent"):  # not HTTP/2's
                channel.persistent = False
            request.setHeader(b"Connection", b"close")
            return refuse(request, 503, "The service is stopping")
        method = request.method
        if (
            self._script is not None
            and request.postpath == [b"client.js"]
            and method in (b"GET", b"HEAD")
        ):
            return self._script.render(request)
        refusal = self._refusal(request)
        if refusal is not None:
            self._tell(refusal)
            return refuse(request, 403, refusal)
        self._share(request)
        handle = {
            b"POST": self._post,
            b"GET": self._get,
            b"OPTIONS": self._preflight,
        }.get(method, self._other)
        try:
            return handle(request)
        except Malformed as error:
            return refuse(request, 400, str(error))
        except TooLarge as error:
            return refuse(request, 413, str(error))

    def _tell(self, refusal: str) -> None:
        """Log it, once: no browser shows a page why its socket was refused."""
        if refusal not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(refusal)
            _log.warn("Refused: {refusal}", refusal=refusal)

    # The doors

    def _post(self, request: Request) -> bytes | int:
        content: Any = request.content
        text: bytes = content.read(self.limits.request_bytes + 1)
        reader = reader_of(header_of(request.requestHeaders, "content-type"))
        if reader is None:
            return refuse(request, 415, "Send messages as application/json")
        messages = reader(text, self.limits)
        return self._answer(request, _POLLING, messages, self._write_poll)

    def _get(self, request: Request) -> bytes | int:
        headers = request.requestHeaders
        query = request.uri.partition(b"?")[2]
        # Access logs, ours or another's, write this: it names the session.
        request.uri = b"/" + b"/".join(request.prepath or ())
        # Others, such as h2c, may be ignored (RFC 9110, 7.8).
        if is_token(header_of(headers, "upgrade"), "websocket"):
            return upgrade(request, self._sockets)
        if _wants_events(request):
            return self._streams.open(request)
        callback = callback_name(form_fields(query, b"jsonp", self.limits))
        fields = form_fields(query, b"message", self.limits)
        if not fields:
            return refuse(
                request,
                400,
                "This is a Bayeux service: it is spoken to by a client such as"
                " Faye's or CometD's, not by a browser's address bar",
            )
        # A link in a mail, say, which no page and hence no origin is to blame for.
        if header_of(headers, "sec-fetch-dest") not in (None, "script", "empty"):
            return refuse(request, 403, "Messages come by GET from scripts only")
        messages = read_all(fields, self.limits)

        def write(request: Request, body: bytes) -> None:
            request.setHeader(b"Content-Disposition", b"attachment; filename=f.txt")
            _write(request, b"text/javascript; charset=utf-8", script(callback, body))

        return self._answer(request, "callback-polling", messages, write)

    def _answer(
        self, request: Request, transport: str, messages: list[Any], write: Any
    ) -> int:
        source = HttpRequest(
            transport, request.getClientAddress(), request.requestHeaders
        )
        return answer_request(request, self._server.process(messages, source), write)

    def _write_poll(self, request: Request, body: bytes) -> None:
        _write(request, _JSON, body)

    def _other(self, request: Request) -> bytes:
        request.setHeader(b"Allow", _ALLOWED_METHODS)
        return refuse(request, 405, "Bayeux knows GET, POST and OPTIONS")

    def _preflight(self, request: Request) -> bytes:
        request.setResponseCode(204)
        request.setHeader(b"Allow", _ALLOWED_METHODS)
        if request.requestHeaders.hasHeader(b"Origin"):
            wanted = header_of(request.requestHeaders, "access-control-request-headers")
            names = f"{_ALLOWED_HEADERS}, {wanted}" if wanted else _ALLOWED_HEADERS
            request.setHeader(b"Access-Control-Allow-Methods", b"GET, POST")
            request.setHeader(b"Access-Control-Allow-Headers", names.encode("latin-1"))
            request.setHeader(b"Access-Control-Max-Age", _PREFLIGHT_AGE)
        return b""

    def _refusal(self, request: Request) -> str | None:
        headers = request.requestHeaders
        return self._origins.refusal(
            lambda name: header_of(headers, name),
            request.isSecure(),
            script=request.method == b"GET" and not _wants_events(request),
        )

    def _share(self, request: Request) -> None:
        """Let the page that the request comes from read the answer."""
        origin = request.requestHeaders.getRawHeaders(b"Origin")
        if origin is not None:
            headers = request.responseHeaders
            headers.setRawHeaders(b"Access-Control-Allow-Origin", origin)
            headers.setRawHeaders(b"Access-Control-Allow-Credentials", [b"true"])
            headers.addRawHeader(b"Vary", b"Origin")


def _wants_events(request: Request) -> bool:
    return "text/event-stream" in (header_of(request.requestHeaders, "accept") or "")


def _write(request: Request, kind: bytes, body: bytes) -> None:
    _describe(request, kind)
    request.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(body)])
    request.write(body)
    request.finish()


def _describe(request: Request, kind: bytes) -> None:
    headers = request.responseHeaders
    headers.setRawHeaders(b"Content-Type", [kind])
    headers.setRawHeaders(b"Cache-Control", [b"no-cache, no-store"])
    headers.setRawHeaders(b"X-Content-Type-Options", [b"nosniff"])
