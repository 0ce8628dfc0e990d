"""Find the file that makes a TLS endpoint unusable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["check_parameters", "unusable_file"]

_POSITIONAL: Final = ("port", "privateKey", "certKey")  # of Twisted's ssl: endpoints
_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL
)


def unusable_file(endpoint: str) -> str | None:
    """Return a sentence that names the file which an endpoint string cannot use.

    OpenSSL's own errors do not name it: "no start line".  To be called when the
    endpoint has failed, as it may ask for a key's passphrase.

    :returns: None if it is no ``ssl:`` endpoint, or no file is to blame.
    """
    files = _arguments(endpoint)
    if files is None:
        return None
    key = files.get("privateKey", "server.pem")  # Twisted's default
    try:
        return _reason(key, files.get("certKey", key), files.get("extraCertChain"))
    except (ImportError, OSError):
        return None  # which the endpoint's own error says better


def check_parameters(endpoint: str) -> None:
    """Check the Diffie-Hellman parameters, which Twisted reads for a connection only.

    :raises ValueError: with a sentence that names the file.
    :raises OSError: if it cannot be read.
    """
    path = (_arguments(endpoint) or {}).get("dhParameters")
    if path is None:
        return
    # Optional: txbayeux[tls].
    from OpenSSL import SSL  # noqa: PLC0415

    Path(path).read_bytes()
    try:
        SSL.Context(SSL.TLS_METHOD).load_tmp_dh(path)
    except SSL.Error:
        raise ValueError(
            f"{path} has no usable Diffie-Hellman parameters in PEM format"
        ) from None


def _arguments(endpoint: str) -> dict[str, str] | None:
    """Return the arguments of an ``ssl:`` endpoint; None for another one."""
    kind, *parts = re.split(r"(?<!\\):", endpoint.removeprefix("haproxy:"))
    if kind != "ssl":
        return None
    plain = [part for part in parts if "=" not in part]
    values = dict(zip(_POSITIONAL, plain, strict=False))
    named = (part.partition("=") for part in parts)
    values.update((name, value) for name, equals, value in named if equals)
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in values.items()}


def _reason(key: str, certificate: str, chain: str | None) -> str | None:
    # Optional: txbayeux[tls].
    from OpenSSL.crypto import FILETYPE_PEM, Error  # noqa: PLC0415
    from twisted.internet.ssl import Certificate, KeyPair  # noqa: PLC0415

    # Twisted looks for both in both.
    text = Path(certificate).read_bytes() + b"\n" + Path(key).read_bytes()
    try:
        private = KeyPair.load(text, FILETYPE_PEM)
    except Error:
        return f"{key} has no usable private key in PEM format"
    try:
        public = Certificate.loadPEM(text).getPublicKey()
    except Error:
        return f"{certificate} has no usable certificate in PEM format"
    if not private.matches(public):
        return f"{key} is not the private key of {certificate}"
    if chain is None:
        return None
    try:
        for one in _CERTIFICATE.findall(Path(chain).read_bytes()):
            Certificate.loadPEM(one)
    except Error:
        return f"{chain} has a certificate that cannot be used"
    return None
