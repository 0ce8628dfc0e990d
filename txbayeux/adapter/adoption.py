"""Connections of a ``twisted.web`` site that go on at the fast door.

A client that polls asks for nothing else.  Where it has come to the resource by the
plain way, through nothing but dictionaries, ``twisted.web`` would do the same work
for each of its polls, 80 µs, and come to the same end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from txbayeux.adapter.fronts import FastHTTPFactory
from txbayeux.adapter.head import is_poll
from txbayeux.adapter.site import BoundedRequest, OwnChannel, OwnSite
from txbayeux.adapter.websocket_handshake import put_in_place
from txbayeux.interfaces import Clock

if TYPE_CHECKING:
    from txbayeux.adapter.resource import BayeuxResource

__all__ = ["Adoption", "adopt"]

_NAME: Final = re.compile(rb"[A-Za-z0-9._~\-]+\Z")  # the same in a URL
_HARMLESS: Final = {"__module__", "__doc__", "max_bytes"}  # of bounded_request()


class Adoption:
    """Takes connections over from ``twisted.web`` between two polls.

    :param most: bytes of a body that is read.
    """

    def __init__(self, resource: BayeuxResource, reactor: Clock, *, most: int) -> None:
        self._resource = resource
        self._reactor = reactor
        self._most = most
        self._fronts: dict[tuple[Site, bytes], FastHTTPFactory] = {}

    def consider(self, request: Request) -> FastHTTPFactory | None:
        """Tell where the connection of a request may go on once it is answered."""
        channel: Any = request.channel
        site = getattr(channel, "site", None)
        if (
            not isinstance(channel, HTTPChannel)
            or not isinstance(site, Site)
            or site.timeOut is None
            # In the middle of reading one that is answered at once, others may follow.
            or not request.notifications
            or (request.method, request.clientproto) != (b"POST", b"HTTP/1.1")
            or not is_poll(request.requestHeaders)
            or not self._is_plain_way(site, request)
        ):
            return None
        way = (site, b"/".join(request.prepath or ()))
        front = self._fronts.get(way)
        if front is None:
            front = self._fronts[way] = FastHTTPFactory(
                site,
                self._resource,
                self._reactor,
                mount=way[1].decode("ascii"),
                most=self._most,
                timeout=site.timeOut,
            )
        return front

    def _is_plain_way(self, site: Site, request: Request) -> bool:
        """Tell whether nobody but us sees the requests that come this way."""
        if not (
            type(site).buildProtocol is Site.buildProtocol
            and type(site).getResourceFor is Site.getResourceFor
            and type(site).log in (Site.log, OwnSite.log)
            and site.logPath is None
            and _adds_nothing(type(request), (Request, BoundedRequest))
            and _adds_nothing(type(request.channel), (HTTPChannel, OwnChannel))
        ):
            return False
        node: Any = site.resource
        for name in request.prepath or ():
            if (
                not isinstance(node, Resource)
                or type(node).getChildWithDefault is not Resource.getChildWithDefault
                or _NAME.match(name) is None
            ):
                return False
            node = node.children.get(name)
        plain: IResource = self._resource
        return node is plain


def _adds_nothing(kind: type, known: tuple[type, type]) -> bool:
    """Tell whether a class does as one that is known does.

    Whatever its author has overridden, be it to count requests or to refuse some,
    would not be called any more.
    """
    for base in kind.__mro__:
        if base in known:
            return True
        if not vars(base).keys() <= _HARMLESS:
            return False
    return False


def adopt(channel: Any, fronts: FastHTTPFactory) -> None:
    """Let a connection whose request has just been answered go on at the fast door.

    Unless it ends, its peer does not read, or ``twisted.web`` has begun to read
    the next request.
    """
    transport = channel.transport
    if (
        transport is None
        or not channel.persistent
        or channel.requests
        or channel._waitingForTransport
        or not hasattr(transport, "protocol")  # nobody else can hear what comes
        or getattr(transport, "disconnecting", False)
    ):
        return
    channel.setTimeout(None)
    channel.transport = None
    transport.unregisterProducer()
    front = fronts.buildProtocol(None)
    put_in_place(transport, front)
    front.makeConnection(transport)
    # A part of the next request's first line.
    begun = channel.clearLineBuffer()
    if begun:
        front.dataReceived(begun)
