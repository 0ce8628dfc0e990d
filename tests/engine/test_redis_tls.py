"""rediss: the certificate must be good, and for the host that was asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate

from tests.engine.certificates import LOOPBACK, certificate
from tests.engine.redis_harness import pause
from tests.engine.redis_own_server import OwnServer
from tests.engine.redis_server import RedisServer
from txbayeux.engine.redis import RedisEngine
from txbayeux.engine.redis.location import parse
from txbayeux.limits import Limits
from txbayeux.testing import contract

# Twisted's own use of pyOpenSSL.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


class Tunnel(Protocol):
    """TLS on one side, redis-server's Unix socket on the other."""

    factory: Any

    def connectionMade(self) -> None:
        self.other: Any = None
        self.early = b""
        endpoint = UNIXClientEndpoint(reactor, self.factory.path)
        endpoint.connect(Factory.forProtocol(lambda: Back(self))).addCallback(self.made)

    def made(self, other: Any) -> None:
        self.other = other
        other.transport.write(self.early)

    def dataReceived(self, data: bytes) -> None:
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.other is not None:
            self.other.transport.loseConnection()


class Back(Protocol):
    def __init__(self, front: Tunnel) -> None:
        self.front: Any = front

    def dataReceived(self, data: bytes) -> None:
        self.front.transport.write(data)


class TestTls(OwnServer):
    host = "127.0.0.1"
    trusted = True

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        self.namespace = "tls"
        self.folder = tmp_path
        self.server = RedisServer(tmp_path)
        self.server.start()
        self.listening: Any = None
        yield
        self.server.stop()

    async def tear_down(self) -> None:
        await self.listening.stopListening()
        # The tunnels' ends, too.
        await pause(0.05)

    def serve(self, pem: bytes) -> None:
        (self.folder / "ca.pem").write_bytes(pem)
        factory: Any = Factory.forProtocol(Tunnel)
        factory.path = str(self.server.socket)
        there: Any = reactor
        options = PrivateCertificate.loadPEM(pem).options()
        self.listening = there.listenSSL(0, factory, options, interface="127.0.0.1")

    def make_engine(self, *, limits: Limits, session_timeout: float) -> RedisEngine:
        port = self.listening.getHost().port
        trust = f"?ca={self.folder / 'ca.pem'}" if self.trusted else ""
        return RedisEngine(
            reactor,
            parse(f"rediss://{self.host}:{port}/0{trust}"),
            limits=limits,
            session_timeout=session_timeout,
            options=self.options(),
        )

    async def stays_away(self) -> None:
        engine = await self.start()
        await pause(0.6)
        assert not engine.ready()
        clients: Any = self.server.client.info("commandstats")
        assert not any("eval" in name for name in clients)

    @contract
    async def test_a_certificate_of_a_trusted_authority_is_good(self) -> None:
        self.serve(certificate(LOOPBACK))
        engine, _ = await self.start_node()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_one_that_nobody_vouches_for_is_refused(self) -> None:
        self.trusted = False
        self.serve(certificate(LOOPBACK))
        await self.stays_away()

    @contract
    async def test_one_for_another_host_is_refused(self) -> None:
        self.serve(certificate(x509.DNSName("redis.example.com")))
        await self.stays_away()

    @contract
    async def test_an_expired_one_is_refused(self) -> None:
        self.serve(certificate(LOOPBACK, expired=True))
        await self.stays_away()
