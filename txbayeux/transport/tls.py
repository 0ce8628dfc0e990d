"""TLS with other roots than the platform's, and with client certificates.

Without it, certificates are verified against the platform's roots.
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
    """A policy for ``Client(tls=...)``: certificates are verified, as by default.

    :param trust_root: an object that ``twisted.internet.ssl`` accepts as one: a
        ``Certificate``, ``platformTrust()``, ...; None for the platform's roots.
    :param client_certificate: a ``PrivateCertificate`` to present to the server.
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
        """Return a policy from PEM.

        :param ca: the certificates of the roots.
        :param certificate: a client certificate with its private key.
        :raises ValueError: if the PEM holds no such thing.
        """
        root = own = None
        try:
            if ca is not None:
                end = b"-----END CERTIFICATE-----"
                pieces = [piece + end for piece in ca.split(end)[:-1]]
                roots = [Certificate.loadPEM(piece) for piece in pieces]
                if not roots:
                    raise ValueError("the PEM holds no root certificate")
                root = trustRootFromCertificates(roots)
            if certificate is not None:
                own = PrivateCertificate.loadPEM(certificate)
        except OpenSSLError as error:
            raise ValueError(f"not a certificate in PEM: {error}") from None
        return cls(root, own)

    def creatorForNetloc(
        self, hostname: bytes, port: int
    ) -> IOpenSSLClientConnectionCreator:
        """See :class:`~twisted.web.iweb.IPolicyForHTTPS`."""
        creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            hostname.decode("ascii"), **self._options
        )
        return creator
