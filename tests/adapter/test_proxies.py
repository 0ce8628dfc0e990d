"""Which address counts as the client's, behind proxies and without."""

from typing import Any

import pytest

from txbayeux.adapter.proxies import TrustedProxies

from .sockets import Client
from .support import Service

PROXY = "192.168.1.1"  # that of connections in memory


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        ({}, "10.0.0.1"),
        ({"x-forwarded-for": "192.0.2.1"}, "192.0.2.1"),
        ({"x-forwarded-for": "192.0.2.1:4711"}, "192.0.2.1"),
        ({"x-forwarded-for": "2001:db8::1"}, "2001:db8::1"),
        ({"x-forwarded-for": "[2001:db8::1]"}, "2001:db8::1"),
        ({"x-forwarded-for": "[2001:DB8::1]:80"}, "2001:db8::1"),
        ({"x-forwarded-for": "::ffff:192.0.2.1"}, "192.0.2.1"),
        # The last hop that is no proxy; what precedes it is a claim.
        ({"x-forwarded-for": "1.1.1.1, 192.0.2.1"}, "192.0.2.1"),
        ({"x-forwarded-for": "1.1.1.1,192.0.2.1 ,10.0.0.2,10.0.0.3"}, "192.0.2.1"),
        ({"x-forwarded-for": "127.0.0.1, 192.0.2.1"}, "192.0.2.1"),
        ({"x-forwarded-for": "10.0.0.9, 10.0.0.8"}, "10.0.0.9"),
        # Nonsense: then it is the proxy before it.
        ({"x-forwarded-for": "192.0.2.1, unknown"}, "10.0.0.1"),
        ({"x-forwarded-for": "192.0.2.1, unknown, 10.0.0.2"}, "10.0.0.2"),
        ({"x-forwarded-for": ""}, "10.0.0.1"),
        ({"x-forwarded-for": "192.0.2.1,"}, "10.0.0.1"),
        ({"x-forwarded-for": "1.2.3.4.5"}, "10.0.0.1"),
        ({"x-forwarded-for": "192.0.2.1," + "10.0.0.7," * 99 + "10.0.0.7"}, "10.0.0.7"),
        ({"forwarded": "for=192.0.2.1"}, "192.0.2.1"),
        ({"forwarded": 'For="[2001:db8::1]:4711"'}, "2001:db8::1"),
        ({"forwarded": "for=1.1.1.1, for=192.0.2.1;proto=https"}, "192.0.2.1"),
        ({"forwarded": "proto=https; for=192.0.2.1;by=10.0.0.1"}, "192.0.2.1"),
        ({"forwarded": "for=192.0.2.1, for=10.0.0.2"}, "192.0.2.1"),
        ({"forwarded": "for=192.0.2.1, for=unknown"}, "10.0.0.1"),
        ({"forwarded": "for=_hidden"}, "10.0.0.1"),
        ({"forwarded": 'for=192.0.2.1;host="a, for=1.1.1.1'}, "1.1.1.1"),
        ({"forwarded": 'for=192.0.2.1;host="a, for=1.1.1.1"'}, "10.0.0.1"),
        ({"forwarded": 'for="1.1.1.1, for=192.0.2.1'}, "192.0.2.1"),
        ({"forwarded": "nonsense"}, "10.0.0.1"),
        ({"x-forwarded-for": "192.0.2.1", "forwarded": "for=1.1.1.1"}, "192.0.2.1"),
    ],
)
def test_a_trusted_proxy_names_its_client(headers: dict[str, str], client: str) -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    assert proxies.client("10.0.0.1", headers.get) == client


def test_nobody_else_is_believed() -> None:
    headers = {"x-forwarded-for": "192.0.2.1", "forwarded": "for=192.0.2.1"}
    for proxies in (TrustedProxies(), TrustedProxies(["10.0.0.0/8", "::1"])):
        for address in ("198.51.100.1", "11.0.0.1", "::2", "", "nonsense"):
            assert proxies.client(address, headers.get) == address


def test_proxies_on_unix_sockets_are_trusted_by_a_word() -> None:
    headers = {"x-forwarded-for": "192.0.2.1"}
    assert TrustedProxies(["unix:"]).client("", headers.get) == "192.0.2.1"
    assert TrustedProxies(["10.0.0.0/8"]).client("", headers.get) == ""


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"proxy\.example"):
        TrustedProxies(["proxy.example"])


def peers(service: Service) -> list[Any]:
    return [request and request.peer for _, request, _ in service.processor.requests]


def test_every_request_has_the_client_of_its_proxy() -> None:
    service = Service(proxies=TrustedProxies([PROXY]))
    service.post([{}], x_forwarded_for="192.0.2.1")
    service.post([{}], x_forwarded_for="192.0.2.2")
    service.ask(path="/bayeux?message=[{}]", x_forwarded_for="192.0.2.3")
    Client(service, x_forwarded_for="2001:db8::4").send([{}])
    service.post([{}])
    assert peers(service) == [
        *("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::4"),
        PROXY,
    ]


def test_the_headers_of_others_change_nothing() -> None:
    service = Service()
    service.post([{}], x_forwarded_for="192.0.2.1", forwarded="for=192.0.2.1")
    assert peers(service) == [PROXY]
