"""URLs of Redis, and their endpoints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint

__all__ = ["Location", "parse"]

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_DATABASE: Final = re.compile(r"[0-9]{1,9}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A Redis server, the Sentinels that know it, or the nodes of a cluster.

    ``hosts`` holds host and port of the server, of each Sentinel (``service`` is then
    the name of the master), or of some nodes of a cluster (``cluster`` is then true);
    ``path`` is that of a Unix socket.  ``certificates`` is a PEM file of certificate
    authorities to trust instead of the platform's; None for the platform's.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    tls: bool = False
    certificates: str | None = None
    username: str | None = None
    password: str | None = None
    database: int = 0
    service: str | None = None
    cluster: bool = False

    def endpoint(
        self, reactor: Any, host: str, port: int, timeout: float
    ) -> IStreamClientEndpoint:
        """Return an endpoint; with TLS, the certificate must be valid for ``host``.

        :param timeout: seconds a connection may take.
        """
        if self.path is not None:
            return UNIXClientEndpoint(reactor, self.path, timeout)
        endpoint = HostnameEndpoint(reactor, host.encode("idna"), port, timeout)
        if not self.tls:
            return endpoint
        # Only TLS needs pyOpenSSL.
        from twisted.internet.ssl import optionsForClientTLS  # noqa: PLC0415

        return wrapClientTLS(
            optionsForClientTLS(host, trustRoot=self._trust()), endpoint
        )

    def _trust(self) -> Any:
        if self.certificates is None:
            return None
        from twisted.internet.ssl import (  # noqa: PLC0415
            Certificate,
            trustRootFromCertificates,
        )

        with open(self.certificates, "rb") as file:
            blocks = file.read().split(b"-----BEGIN CERTIFICATE-----")[1:]
        return trustRootFromCertificates(
            [
                Certificate.loadPEM(b"-----BEGIN CERTIFICATE-----" + block)
                for block in blocks
            ]
        )

    def __str__(self) -> str:
        """Return a description without the password, for the log."""
        if self.path is not None:
            return f"unix socket {self.path}"
        places = ",".join(f"{host}:{port}" for host, port in self.hosts)
        if self.cluster:
            return f"cluster of {places}"
        return f"{self.service} by Sentinel {places}" if self.service else places


def parse(url: str) -> Location:
    """Parse a URL of Redis.

    - ``redis://[[user]:password@]host[:port][/database]``
    - ``rediss://...``, the same over TLS; ``?ca=file`` names the authorities to trust
    - ``redis+unix://[[user]:password@]/path/of/socket[?db=database]``, or ``unix:``
    - ``redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/db]``;
      user and password are those of the server.  ``rediss+sentinel:`` is TLS to both.
    - ``redis+cluster://[[user]:password@]host[:port][,host[:port]...]``: any nodes of a
      Redis Cluster; the others are found.  ``rediss+cluster:`` is TLS to all.

    Source: the IANA registration of ``redis`` and ``rediss``, and redis-py.

    :raises ValueError: with a sentence that does not repeat the password.
    """
    parts = urlsplit(url)
    scheme = parts.scheme
    _check_password(parts)
    options = _options(parts)
    common: dict[str, Any] = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "tls": scheme.startswith("rediss"),
        "certificates": options.get("ca", [None])[0],
    }
    path = [unquote(part) for part in parts.path.split("/") if part]
    if scheme in ("redis+unix", "unix"):
        if not path or parts.hostname:
            raise ValueError("the URL of a Unix socket is redis+unix:///its/path")
        return Location(
            path=unquote(parts.path), database=_database(options, []), **common
        )
    if scheme in ("redis+sentinel", "rediss+sentinel"):
        if not path:
            raise ValueError("the URL of a Sentinel ends in the name of a service")
        return Location(
            hosts=_hosts(parts, _SENTINEL_PORT),
            service=path[0],
            database=_database(options, path[1:]),
            **common,
        )
    if scheme in ("redis+cluster", "rediss+cluster"):
        if path or "db" in options:
            raise ValueError("a cluster has one database, which has no number")
        return Location(hosts=_hosts(parts, _PORT), cluster=True, **common)
    if scheme not in ("redis", "rediss"):
        raise ValueError(f"not a URL of Redis: {scheme}:")
    hosts = _hosts(parts, _PORT)
    if len(hosts) > 1:
        raise ValueError(
            "more than one host is for redis+sentinel: and redis+cluster: only"
        )
    return Location(hosts=hosts, database=_database(options, path), **common)


def _check_password(parts: SplitResult) -> None:
    if "@" in parts.path + parts.query + parts.fragment:
        # Otherwise a part of the password would appear in an error as the port.
        raise ValueError("in user and password / ? # @ are written %2F %3F %23 %40")
    if parts.username and parts.password is None:
        raise ValueError("a user without a password")


def _options(parts: SplitResult) -> dict[str, list[str]]:
    options = parse_qs(parts.query)
    unknown = set(options) - {"db", "ca"}
    if unknown or parts.fragment:
        raise ValueError(f"unknown options in the URL of Redis: {sorted(unknown)}")
    if "ca" in options and not parts.scheme.startswith("rediss"):
        raise ValueError("the option ca is for rediss: only")
    return options


def _database(options: dict[str, list[str]], path: list[str]) -> int:
    given = [*options.get("db", []), *path]
    if len(given) > 1 or not all(map(_DATABASE.match, given)):
        raise ValueError("the database is one number")
    return int(given[0]) if given else 0


def _hosts(parts: SplitResult, port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for place in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{place}")
        try:
            number = one.port or port
        except ValueError:
            raise ValueError(f"not a port: {place}") from None
        hosts.append((one.hostname or "localhost", number))
    return tuple(hosts)
