"""Cookies for requests that are not sent through treq: WebSocket upgrades.

Source: RFC 6265, by the standard library's cookie jar, which keeps Domain, Path,
Secure, Expires and Max-Age.
"""

from __future__ import annotations

import email.message
import urllib.request
from collections.abc import Iterable
from http.cookiejar import Cookie, CookieJar
from typing import Any, cast

from treq.cookies import scoped_cookie

from txbayeux.transport.url import ServerURL

__all__ = ["cookie_header", "own_cookie", "store_cookies"]


def own_cookie(endpoint: ServerURL, name: str, value: str) -> Cookie:
    """Return a cookie that the user sets, for the origin of ``endpoint`` only."""
    cookie = scoped_cookie(endpoint.url, name, value)
    if ":" in endpoint.host:  # IPv6: the jar does not understand name and port
        cookie.domain, cookie.port = f"[{endpoint.host}].local", None
    return cookie


def cookie_header(jar: CookieJar, endpoint: ServerURL) -> str | None:
    """Return the Cookie header for a request to ``endpoint``; None for no cookies."""
    request = urllib.request.Request(endpoint.url)  # noqa: S310 (it is never opened)
    jar.add_cookie_header(request)
    return request.get_header("Cookie")


def store_cookies(jar: CookieJar, endpoint: ServerURL, lines: Iterable[str]) -> None:
    """Store the cookies of ``Set-Cookie`` lines that ``endpoint`` may set."""
    headers = email.message.Message()
    for line in lines:
        headers["Set-Cookie"] = line

    class Response:
        def info(self) -> email.message.Message:
            return headers

    request = urllib.request.Request(endpoint.url)  # noqa: S310 (it is never opened)
    jar.extract_cookies(cast(Any, Response()), request)
