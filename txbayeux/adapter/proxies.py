"""Who the client is behind proxies: X-Forwarded-For, and Forwarded (RFC 7239)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from txbayeux.peer_limits import parse_address

__all__ = ["UNIX", "TrustedProxies"]

UNIX: Final = "unix:"
"""What stands for all Unix sockets."""

_MAX_HOPS: Final = 32
"""Hops that are looked at, from the last one on."""

# An address, in brackets if it is of IPv6 and a port follows, as proxies write it.
_NODE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?\Z")
_PAIR: Final = re.compile(r'\s*([\w-]+)=("[^"\\]*"|[^\s",;=]*)\s*\Z')


class TrustedProxies:
    """The proxies that are believed when they name their client.

    Each proxy adds the address that it was called from at the end.  So the client is
    the last address that is not itself a trusted proxy's; what precedes it is the
    client's own claim.  If a proxy names none, or nonsense, it counts as the client.

    Of a request with both headers, X-Forwarded-For is read: proxies that add it usually
    let a ``Forwarded`` of the client's pass.  Have them remove the one that they do not
    set.

    :param networks: as ``192.0.2.0/24``, or an address; ``unix:`` for the proxies that
        connect to Unix sockets (nginx's word in ``set_real_ip_from``).
    :raises ValueError: for what is no network.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        given = tuple(networks)
        self._unix = UNIX in given
        self._networks = [ip_network(network) for network in given if network != UNIX]

    def trusts(self, address: str) -> bool:
        """Return whether an address, "" of a Unix socket, is a trusted proxy's."""
        if not address:
            return self._unix
        if not self._networks:
            return False
        parsed = parse_address(address)
        return parsed is not None and self._trusted(parsed)

    def client(self, address: str, header: Callable[[str], str | None]) -> str:
        """Return the address of the client of a request.

        :param address: that the request came from.
        :param header: returns the value of a header, by its name in lower case.
        """
        if not self.trusts(address):
            return address
        for number, hop in enumerate(_hops(header)):
            parsed = None if number == _MAX_HOPS else parse_address(hop)
            if parsed is None:
                break
            address = str(parsed)
            if not self._trusted(parsed):
                break
        return address

    def _trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _hops(header: Callable[[str], str | None]) -> Iterator[str]:
    """Return the addresses that proxies have added, the last one first."""
    forwarded_for = header("x-forwarded-for")
    if forwarded_for is not None:
        for node in reversed(forwarded_for.split(",")):
            yield _address(node.strip())
    else:
        for element in reversed((header("forwarded") or "").split(",")):
            yield _address(_for(element))


def _for(element: str) -> str:
    """Return the ``for`` of an element of Forwarded; "" if it is malformed."""
    found = ""
    for pair in element.split(";"):
        match = _PAIR.match(pair)
        if match is None:
            return ""
        if match[1].lower() == "for":
            found = match[2].strip('"')
    return found


def _address(node: str) -> str:
    """Return the address of a node, without its port; any other node as it is."""
    match = _NODE.match(node)
    return node if match is None else match[1] or match[2]
