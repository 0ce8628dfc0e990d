"""Performance targets: CPU or memory of a server, mostly as a ratio to another's."""

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
    """The other server; if empty, the metric itself is compared, not a ratio."""
    metric: str = "delivery_us"
    base: str = ""
    """The scenario that the other server is measured in; if empty: the same."""


_TEN: Final = ("lp-100-10", "lp-1000-10")
_ONE: Final = ("lp-10-1", "lp-100-1", "lp-1000-1")
_IDLE: Final = ("sessions-5000",)
_NESTED: Final = "txbayeux-nested"
_REDIS: Final = "txbayeux-redis"
_CENTRIFUGO: Final = "centrifugo"
_CENTRIFUGO_REDIS: Final = "centrifugo-redis"
_RECOVERY: Final = "centrifugo-recovery"
_IN_FLIGHT: Final = ("one-to-one-20", "one-to-one-200")
_PERSONAL: Final = ("personal-5000",)

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
    Target("WebSocket fan-out, 10", ("ws-10",), 1.2, peer=_CENTRIFUGO),
    Target("WebSocket fan-out, 100", ("ws-100",), 0.85, peer=_CENTRIFUGO),
    Target("WebSocket fan-out, 1,000", ("ws-1000",), 0.6, peer=_CENTRIFUGO),
    Target("100 publishers, one subscriber each", ("ws-pairs",), 0.9, peer=_CENTRIFUGO),
    Target("100 messages a second to 100", ("ws-rate",), 0.85, peer=_CENTRIFUGO),
    Target(
        "Setup of a WebSocket session with its own channel",
        _PERSONAL,
        1.0,
        peer=_CENTRIFUGO,
        metric="set_up_us",
    ),
    Target(
        "Memory of an idle session with its own channel",
        _PERSONAL,
        0.1,
        peer=_CENTRIFUGO,
        metric="session_kib",
    ),
    Target(
        "Two nodes on Redis, 100 and 1,000",
        ("ws-100", "ws-1000"),
        0.4,
        _REDIS,
        _CENTRIFUGO_REDIS,
    ),
    Target(
        "Two nodes on Redis, 100 messages a second to 100",
        ("ws-rate",),
        1.0,
        _REDIS,
        _CENTRIFUGO_REDIS,
    ),
    Target(
        "One-to-one on two nodes, 20 and 200 in flight",
        _IN_FLIGHT,
        1.0,
        _REDIS,
        _CENTRIFUGO_REDIS,
        metric="publish_us",
    ),
    Target(
        "One-to-one on two nodes, 20 and 200 in flight",
        _IN_FLIGHT,
        0.75,
        _REDIS,
        _RECOVERY,
        metric="publish_us",
    ),
    Target(
        "One-to-one on two nodes, 500 a second",
        ("one-to-one-rate",),
        1.2,
        _REDIS,
        _CENTRIFUGO_REDIS,
        metric="publish_us",
    ),
    Target(
        "A node without clients, µs per message of others",
        ("idle-node-20", "idle-node-200", "idle-node-rate"),
        1.0,
        _REDIS,
        "",
        metric="c_us",
    ),
    Target(
        "One-to-one on 8 nodes instead of 2",
        ("nodes-8",),
        1.1,
        _REDIS,
        _REDIS,
        metric="publish_us",
        base="nodes-2",
    ),
)
