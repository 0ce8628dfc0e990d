"""Which certificates are accepted over https and wss; on real sockets."""

from __future__ import annotations

import datetime
import ipaddress
import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, CertificateOptions, PrivateCertificate

from txbayeux.client import Client
from txbayeux.transport.base import Unreachable
from txbayeux.transport.tls import TLSPolicy

# Twisted passes pyOpenSSL arguments that pyOpenSSL has begun to deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:dump_privatekey:DeprecationWarning"),
]

_numbers = itertools.count()
DAY = datetime.timedelta(days=1)
ADDRESS = "127.0.0.1"


@dataclass
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def private(self) -> PrivateCertificate:
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return PrivateCertificate.loadPEM(self.pem + key)

    @property
    def pem_with_key(self) -> bytes:
        return self.private.dumpPEM()


def certificate_for(
    *,
    issuer: Identity | None = None,
    address: str = ADDRESS,
    ages: tuple[int, int] = (-1, 1),
    is_ca: bool = False,
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    common = f"txbayeux test {next(_numbers)}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + ages[0] * DAY)
        .not_valid_after(now + ages[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address(address))]
            ),
            False,
        )
    )
    signer = key if issuer is None else issuer.key
    return Identity(builder.sign(signer, hashes.SHA256()), key)


class NotFoundServer(Protocol):
    """Records the application data that it receives, which comes after TLS."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.received.append(data)  # type: ignore[union-attr]
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@dataclass
class TLSServers:
    """Starts TLS servers, and records what they receive."""

    received: list[bytes] = field(default_factory=list)
    ports: list[Any] = field(default_factory=list)

    def start(self, identity: Identity, client_ca: Identity | None = None) -> int:
        factory = Factory.forProtocol(NotFoundServer)
        factory.received = self.received  # type: ignore[attr-defined]
        own = identity.private
        trusted = {}
        if client_ca is not None:
            trusted["trustRoot"] = Certificate.loadPEM(client_ca.pem)
        options = CertificateOptions(
            privateKey=own.privateKey.original, certificate=own.original, **trusted
        )
        port = reactor.listenSSL(0, factory, options, interface=ADDRESS)  # type: ignore[attr-defined]
        self.ports.append(port)
        number: int = port.getHost().port
        return number


@pytest.fixture
def servers() -> Generator[TLSServers]:
    started = TLSServers()
    yield started
    for port in started.ports:
        pytest_twisted.blockon(maybeDeferred(port.stopListening))


async def first_failure(port: int, transport: str, **options: Any) -> Exception:
    scheme = {"websocket": "wss"}.get(transport, "https")
    client = Client(
        f"{scheme}://{ADDRESS}:{port}/bayeux", transports=[transport], **options
    )
    failed: Deferred[Exception] = Deferred()

    def note(error: Exception) -> None:
        if not failed.called:
            failed.callback(error)

    client.on_failure(note)
    client.connect().addErrback(lambda _: None)
    failed.addTimeout(30, reactor)  # type: ignore[arg-type]
    try:
        return await failed
    finally:
        await client.disconnect()


TRANSPORTS = ["long-polling", "websocket", "callback-polling"]
CA = certificate_for(is_ca=True)


def self_signed() -> Identity:
    return certificate_for()


def by_another_ca() -> Identity:
    return certificate_for(issuer=certificate_for(is_ca=True))


def for_another_host() -> Identity:
    return certificate_for(issuer=CA, address="127.0.0.2")


def expired() -> Identity:
    return certificate_for(issuer=CA, ages=(-3, -2))


def not_yet_valid() -> Identity:
    return certificate_for(issuer=CA, ages=(2, 3))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("trusts_ca", [False, True], ids=["platform", "own-ca"])
@pytest.mark.parametrize(
    "identity",
    [self_signed, by_another_ca, for_another_host, expired, not_yet_valid],
    ids=lambda make: make.__name__,
)
@pytest_twisted.ensureDeferred
async def test_an_invalid_certificate_is_refused(
    servers: TLSServers,
    identity: Callable[[], Identity],
    trusts_ca: bool,
    transport: str,
) -> None:
    port = servers.start(identity())
    tls = TLSPolicy.from_pem(CA.pem) if trusts_ca else None
    error = await first_failure(port, transport, tls=tls)
    assert isinstance(error, Unreachable)
    assert "TLS failed" in str(error)
    assert servers.received == []


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest_twisted.ensureDeferred
async def test_a_certificate_of_the_given_ca_is_accepted(
    servers: TLSServers, transport: str
) -> None:
    port = servers.start(certificate_for(issuer=CA))
    error = await first_failure(
        port, transport, tls=TLSPolicy(Certificate.loadPEM(CA.pem))
    )
    assert "404" in str(error)
    assert b"/bayeux" in b"".join(servers.received)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest_twisted.ensureDeferred
async def test_a_ca_that_is_not_among_the_platform_roots_is_refused(
    servers: TLSServers, transport: str
) -> None:
    port = servers.start(certificate_for(issuer=CA))
    assert isinstance(await first_failure(port, transport), Unreachable)
    assert servers.received == []


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("shown", [True, False])
@pytest_twisted.ensureDeferred
async def test_client_certificates(
    servers: TLSServers, transport: str, shown: bool
) -> None:
    port = servers.start(certificate_for(issuer=CA), client_ca=CA)
    own = certificate_for(issuer=CA).pem_with_key if shown else None
    error = await first_failure(port, transport, tls=TLSPolicy.from_pem(CA.pem, own))
    assert ("404" in str(error)) is shown
    assert bool(servers.received) is shown


def test_pem_without_certificates() -> None:
    with pytest.raises(ValueError, match="no root certificate"):
        TLSPolicy.from_pem(b"nothing")
