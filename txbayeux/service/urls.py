"""The URLs that a service listens at, for its first log line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

__all__ = ["announcement", "base_url"]


def base_url(endpoint: str, address: object) -> str:
    """Return the URL of a port, without a path.

    A Unix socket is written as nginx does: ``http://unix:/run/bayeux.sock:``.

    :param endpoint: the endpoint string that the port was made from.
    :param address: the ``IAddress`` where it listens; None if it does not yet.
    """
    kind = endpoint.removeprefix("haproxy:").partition(":")[0]
    scheme = "https" if kind in ("ssl", "tls") else "http"
    match address:
        case IPv4Address():
            return f"{scheme}://{address.host}:{address.port}"
        case IPv6Address():
            return f"{scheme}://[{address.host}]:{address.port}"
        case UNIXAddress():
            return f"{scheme}://unix:{os.fsdecode(address.name or b'')}:"
        case _:
            return f"{scheme}://{endpoint}"


def announcement(
    urls: Sequence[str], *, mount: str, page: bool, admin: Iterable[str] = ()
) -> str:
    """Return the sentence that names every URL of the service.

    :param urls: base URL of each public port.
    :param page: whether the chat page is served.
    :param admin: base URL of each admin port.
    """
    parts = ["Bayeux at " + ", ".join(url + mount for url in urls)]
    if page and mount != "/":
        parts.append("chat page at " + ", ".join(f"{url}/" for url in urls))
    health = [f"{url}/health and {url}/metrics" for url in admin]
    if health:
        parts.append(", ".join(health))
    return "; ".join(parts)
