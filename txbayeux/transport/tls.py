"""Whom to trust, and who we are: TLS by Twisted's own objects.

Without any of this, certificates are verified against the platform's roots.
"""

from __future__ import annotations

from typing import Any

from OpenSSL.crypto import Error as OpenSSLError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

__all__ = ["TLSPolicy"]


@implementer(IPolicyForHTTPS)
class TLSPolicy:
    """For ``Client(tls=...)``: verifies as ever, against other roots if given.

    :param trust_root: what ``twisted.internet.ssl`` takes for one: a
        ``Certificate``, ``platformTrust()``, ...; None for the platform's.
    :param client_certificate: a ``PrivateCertificate`` to show to the server.
    """

    def __init__(
        self,
        trust_root: Any = None,
        client_certificate: PrivateCertificate | None = None,
    ) -> None:
        self._options: dict[str, Any] = {"clientCertificate": client_certificate}
        if trust_root is not None:
            self._options["trustRoot"] = trust_root

    @classmethod
    def from_pem(
        cls, ca: bytes | None = None, certificate: bytes | None = None
    ) -> TLSPolicy:
        """Read PEM: certificates of the roots; a certificate with its private key.

        :raises ValueError: if there is none in it.
        """
        root = own = None
        try:
            if ca is not None:
                end = b"-----END CERTIFICATE-----"
                pieces = [piece + end for piece in ca.split(end)[:-1]]
                roots = [Certificate.loadPEM(piece) for piece in pieces]
                if not roots:
                    raise ValueError("no certificate of a root in the PEM")
                root = trustRootFromCertificates(roots)
            if certificate is not None:
                own = PrivateCertificate.loadPEM(certificate)
        except OpenSSLError as error:
            raise ValueError(f"not the PEM of a certificate: {error}") from None
        return cls(root, own)

    def creatorForNetloc(
        self, hostname: bytes, port: int
    ) -> IOpenSSLClientConnectionCreator:
        """Make what verifies that the peer is ``hostname``."""
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            hostname.decode("ascii"), **self._options
        )
        return creator
