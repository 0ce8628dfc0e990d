"""Certificates made here, servers on real sockets, https and wss."""

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

# Twisted hands pyOpenSSL what this has begun to deprecate.
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


def made(
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


class Answering(Protocol):
    """Notes the application data that reaches it; TLS comes before any."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.received.append(data)  # type: ignore[union-attr]
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@dataclass
class Listening:
    """TLS servers, and what they were sent."""

    received: list[bytes] = field(default_factory=list)
    ports: list[Any] = field(default_factory=list)

    def start(self, identity: Identity, client_ca: Identity | None = None) -> int:
        factory = Factory.forProtocol(Answering)
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
def listening() -> Generator[Listening]:
    servers = Listening()
    yield servers
    for port in servers.ports:
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
CA = made(is_ca=True)


def self_signed() -> Identity:
    return made()


def by_another_ca() -> Identity:
    return made(issuer=made(is_ca=True))


def for_another_host() -> Identity:
    return made(issuer=CA, address="127.0.0.2")


def expired() -> Identity:
    return made(issuer=CA, ages=(-3, -2))


def not_yet_valid() -> Identity:
    return made(issuer=CA, ages=(2, 3))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("trusting", [False, True], ids=["platform", "own-ca"])
@pytest.mark.parametrize(
    "identity",
    [self_signed, by_another_ca, for_another_host, expired, not_yet_valid],
    ids=lambda make: make.__name__,
)
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_proves_nothing_is_refused(
    listening: Listening,
    identity: Callable[[], Identity],
    trusting: bool,
    transport: str,
) -> None:
    port = listening.start(identity())
    tls = TLSPolicy.from_pem(CA.pem) if trusting else None
    error = await first_failure(port, transport, tls=tls)
    assert isinstance(error, Unreachable)
    assert "TLS failed" in str(error)
    assert listening.received == []


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest_twisted.ensureDeferred
async def test_a_given_ca_passes(listening: Listening, transport: str) -> None:
    port = listening.start(made(issuer=CA))
    error = await first_failure(
        port, transport, tls=TLSPolicy(Certificate.loadPEM(CA.pem))
    )
    assert "404" in str(error)
    assert b"/bayeux" in b"".join(listening.received)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest_twisted.ensureDeferred
async def test_the_platform_s_roots_do_not_hold_our_ca(
    listening: Listening, transport: str
) -> None:
    port = listening.start(made(issuer=CA))
    assert isinstance(await first_failure(port, transport), Unreachable)
    assert listening.received == []


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("shown", [True, False])
@pytest_twisted.ensureDeferred
async def test_client_certificates(
    listening: Listening, transport: str, shown: bool
) -> None:
    port = listening.start(made(issuer=CA), client_ca=CA)
    own = made(issuer=CA).pem_with_key if shown else None
    error = await first_failure(port, transport, tls=TLSPolicy.from_pem(CA.pem, own))
    assert ("404" in str(error)) is shown
    assert bool(listening.received) is shown


def test_pem_without_certificates() -> None:
    with pytest.raises(ValueError, match="no root certificate"):
        TLSPolicy.from_pem(b"nothing")
