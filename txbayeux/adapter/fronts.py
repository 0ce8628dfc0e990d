"""The connections at one fast door, and what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.web.server import Site
from zope.interface import implementer

from txbayeux.adapter.fast_http import FastHTTPProtocol
from txbayeux.adapter.head import Head
from txbayeux.adapter.io import ClosingWatch, WorkQueue
from txbayeux.interfaces import Clock

if TYPE_CHECKING:
    from txbayeux.adapter.resource import BayeuxResource

__all__ = ["FastHTTPFactory"]

_SWEEPS: Final = 4  # in the time that a connection may be idle


@implementer(IProtocolNegotiationFactory)
class FastHTTPFactory(Factory):
    """Listens in the place of a site that has the resource at ``mount``.

    :param timeout: seconds that a connection may be idle, as the site's own.
    """

    noisy = False

    def __init__(
        self,
        site: Site,
        resource: BayeuxResource,
        reactor: Clock,
        *,
        mount: str,
        most: int,
        timeout: float = 60.0,
    ) -> None:
        self.site = site
        self.resource = resource
        self.mount = mount.strip("/").encode("ascii")
        self._most = most
        path = b"/" + self.mount
        self._exact = (path, path + b"/")
        self._below = (path + b"?", path if path == b"/" else path + b"/")
        self._open: set[FastHTTPProtocol] = set()
        self._timeout = timeout
        self.seconds = reactor.seconds
        self.closing = ClosingWatch(reactor.seconds)
        self.work_queue = WorkQueue(reactor)
        # One timer for all, which runs while there are any.
        self._alarm = LoopingCall(self._sweep)
        clock: Any = reactor
        self._alarm.clock = clock

    def startFactory(self) -> None:
        """Hear that somebody listens."""
        self.site.doStart()

    def stopFactory(self) -> None:
        """Hear that nobody does any more."""
        self.site.doStop()

    def logPrefix(self) -> str:
        """Give the name under which the log says where it listens."""
        return "Bayeux"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make the protocol of a new connection."""
        front = FastHTTPProtocol()
        front.factory = self
        return front

    def acceptableProtocols(self) -> list[bytes]:
        """Give what may be agreed upon in a TLS handshake."""
        protocols: list[bytes] = self.site.acceptableProtocols()
        return protocols

    def takes(self, head: Head) -> bool:
        """Tell whether a request is for the resource, and not too large."""
        if head.method == b"GET":
            return head.target.partition(b"?")[0] in self._exact
        return head.body <= self._most and (
            head.target in self._exact or head.target.startswith(self._below)
        )

    def opened(self, front: FastHTTPProtocol) -> None:
        """Hear of a new connection."""
        self._open.add(front)
        if not self._alarm.running:
            self._alarm.start(self._timeout / _SWEEPS, now=False)

    def closed(self, front: FastHTTPProtocol) -> None:
        """Hear that one is gone, or somebody else's now."""
        self._open.discard(front)
        if not self._open and self._alarm.running:
            self._alarm.stop()

    def _sweep(self) -> None:
        earliest = self.seconds() - self._timeout
        for front in tuple(self._open):
            front.sweep(earliest)
