"""Performance targets: CPU or memory of a server as a ratio to another server's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Target:
    """One target, met if the ratio is at most ``at_most`` in each of the scenarios."""

    title: str
    scenarios: Sequence[str]
    at_most: float
    server: str = "txbayeux"
    peer: str = "faye-node"
    metric: str = "delivery_us"


_TEN: Final = ("lp-100-10", "lp-1000-10")
_ONE: Final = ("lp-10-1", "lp-100-1", "lp-1000-1")
_IDLE: Final = ("sessions-5000",)
_NESTED: Final = "txbayeux-nested"
_REDIS: Final = "txbayeux-redis"

TARGETS: Final = (
    Target("WebSocket fan-out, 100 and 1,000", ("ws-100", "ws-1000"), 0.20),
    Target("WebSocket fan-out, 10", ("ws-10",), 0.50),
    Target("Two nodes on Redis, 10", ("ws-10",), 0.5, _REDIS, "faye-redis"),
    Target(
        "Two nodes on Redis, 100 and 1,000",
        ("ws-100", "ws-1000"),
        0.12,
        _REDIS,
        "faye-redis",
    ),
    Target(
        "WebSocket fan-out with an extension for /meta",
        ("ws-100", "ws-1000"),
        1.1,
        "txbayeux-extended",
        "txbayeux",
    ),
    Target("100 publishers, one subscriber each", ("ws-pairs",), 1.0),
    Target("Long-polling, 10 in flight", _TEN, 0.35),
    Target("Long-polling, 10 in flight", _TEN, 0.6, peer="cometd-node"),
    Target("Long-polling, one in flight", _ONE, 0.7),
    # Half of these is twisted.web's own work; a BayeuxSite avoids it.
    Target(
        "Long-polling, 10 in flight, BayeuxResource in a Site",
        _TEN,
        2.0,
        server=_NESTED,
    ),
    Target(
        "Long-polling, one in flight, BayeuxResource in a Site",
        _ONE,
        3.0,
        server=_NESTED,
    ),
    Target("Setup of a WebSocket session", _IDLE, 0.5, metric="set_up_us"),
    Target("Memory of an idle session", _IDLE, 0.5, metric="session_kib"),
)
