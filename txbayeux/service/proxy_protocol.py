"""``haproxy:`` endpoints: what Twisted's PROXY protocol lacks of version 1.

Source: section 2.1 of
https://github.com/haproxy/haproxy/blob/master/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

__all__ = ["proxy_endpoint"]

_MAX_LINE: Final = 107  # bytes, with its end

_UNKNOWN: Final = re.compile(rb"PROXY UNKNOWN(?: .*)?\r\n\Z", re.DOTALL)
_KNOWN: Final = re.compile(
    rb"PROXY TCP[46] [0-9A-Fa-f.:]+ [0-9A-Fa-f.:]+ [0-9]{1,5} [0-9]{1,5}\r\n\Z"
)

_log: Final = Logger()


def proxy_endpoint(endpoint: Any) -> Any:
    """Return an endpoint whose connections begin with the PROXY protocol.

    :param endpoint: an ``IStreamServerEndpoint``.
    """
    return proxyEndpoint(_LineEndpoint(endpoint))


@implementer(IStreamServerEndpoint)
class _LineEndpoint:
    """Checks the first line of connections before Twisted reads it."""

    def __init__(self, endpoint: IStreamServerEndpoint) -> None:
        self._endpoint = endpoint

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Start listening."""
        factory: Any = WrappingFactory(protocolFactory)
        factory.protocol = _LineCheck
        factory.noisy = False
        return self._endpoint.listen(factory)


class _LineCheck(ProtocolWrapper):
    """A connection whose PROXY line is written in the form that Twisted reads.

    Twisted closes a connection that begins with ``PROXY UNKNOWN`` and no addresses,
    and raises an exception at a port that is not a number.  A header of version 2 is
    passed on as it is.
    """

    transport: Any
    wrappedProtocol: Any
    _line: bytes | None = b""  # what has come of the line

    def dataReceived(self, data: bytes) -> None:
        """Called with what the proxy sent."""
        if self._line is None:
            self.wrappedProtocol.dataReceived(data)
            return
        data = self._line + data
        if not (data.startswith(b"PROXY") or b"PROXY".startswith(data)):
            self._pass_on(data)
            return
        end = data.find(b"\r\n", 0, _MAX_LINE) + 2
        line, rest = data[:end], data[end:]
        if end < 2 and len(data) < _MAX_LINE:
            self._line = data
        elif _UNKNOWN.match(line):
            self._pass_on(b"PROXY UNKNOWN \r\n" + rest)
        elif _KNOWN.match(line):
            self._pass_on(data)
        else:
            _log.debug("Closed a connection without a valid PROXY line")
            self.loseConnection()

    def _pass_on(self, data: bytes) -> None:
        self._line = None
        self.wrappedProtocol.dataReceived(data)
