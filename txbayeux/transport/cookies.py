"""The jar's cookies for what does not go through treq: a socket's upgrade.

Source: RFC 6265, by the standard library's jar, which keeps Domain, Path,
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
    """Make a cookie of the user's, for the origin of ``endpoint`` only."""
    cookie = scoped_cookie(endpoint.url, name, value)
    if ":" in endpoint.host:  # of which the jar knows neither name nor port
        cookie.domain, cookie.port = f"[{endpoint.host}].local", None
    return cookie


def cookie_header(jar: CookieJar, endpoint: ServerURL) -> str | None:
    """Give the Cookie header for a request to ``endpoint``; None for no cookies."""
    request = urllib.request.Request(endpoint.url)  # noqa: S310 (it is never opened)
    jar.add_cookie_header(request)
    return request.get_header("Cookie")


def store_cookies(jar: CookieJar, endpoint: ServerURL, lines: Iterable[str]) -> None:
    """Keep what ``Set-Cookie`` lines from ``endpoint`` say, if it may say so."""
    headers = email.message.Message()
    for line in lines:
        headers["Set-Cookie"] = line

    class Answer:
        def info(self) -> email.message.Message:
            return headers

    request = urllib.request.Request(endpoint.url)  # noqa: S310 (it is never opened)
    jar.extract_cookies(cast(Any, Answer()), request)
