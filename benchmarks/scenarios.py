"""The scenarios that are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

WEBSOCKET: Final = "websocket"
POLLING: Final = "long-polling"
PROCESSES: Final = ("Redis", "A", "B", "C", "D", "E", "F", "G", "H")
"""Redis, and the nodes in the order in which they are started."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of load."""

    name: str
    title: str
    transport: str
    load: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    """Whether it needs a newly started server, to measure memory."""
    quick: bool = False
    """Whether it is part of a quick run."""
    metric: str = "delivery_us"
    """The metric by which servers are compared."""
    baseline: str = "faye-node"
    """The server that ratios are relative to; empty for none."""
    nodes: int = 0
    """Number of nodes on one Redis that it needs; 0: every service runs it."""
    publish_on: Sequence[int] = ()
    """The nodes that publishers connect to, by turns; if empty: all."""
    subscribe_on: Sequence[int] = ()
    """The nodes that subscribers connect to, by turns; if empty: all."""

    def ports(self, nodes: Sequence[int]) -> dict[str, str]:
        """Return the options of the load generator that say who connects where.

        :param nodes: the port of each node.
        """
        chosen = {
            "publisher_port": self.publish_on,
            "subscriber_port": self.subscribe_on,
        }
        return {
            option: ",".join(str(nodes[number]) for number in numbers)
            for option, numbers in chosen.items()
            if numbers
        }

    def options(self, seconds: float) -> dict[str, Any]:
        """Return the options of the load generator for a measurement of this length."""
        timed = {"seconds": seconds, "warm_up": seconds / 3}
        return {"transport": self.transport, **timed, **self.load}


def _fan_out(subscribers: int, *, quick: bool = False) -> Scenario:
    return Scenario(
        name=f"ws-{subscribers}",
        title=f"WebSocket fan-out to {subscribers:,}",
        transport=WEBSOCKET,
        load={"clients": subscribers},
        quick=quick,
    )


def _polling(subscribers: int, window: int, *, quick: bool = False) -> Scenario:
    return Scenario(
        name=f"lp-{subscribers}-{window}",
        title=f"Long-polling fan-out to {subscribers:,}, {window} in flight",
        transport=POLLING,
        load={"clients": subscribers, "window": window},
        quick=quick,
    )


def _large(transport: str, name: str) -> Scenario:
    title = "WebSocket" if transport == WEBSOCKET else "Long-polling"
    return Scenario(
        name=name,
        title=f"{title} fan-out of 100 KB messages to 10",
        transport=transport,
        load={"clients": 10, "payload": 100_000, "window": 2, "publishers": 2},
    )


def _chat(transport: str, name: str) -> Scenario:
    # As in CometD's published load test.  The subscribers are the publishers.
    title = "WebSocket" if transport == WEBSOCKET else "long-polling"
    return Scenario(
        name=name,
        title=f"CometD's chat over {title}: 1,000 clients, 100 rooms",
        transport=transport,
        load={
            "clients": 1000,
            "channels": 100,
            "subscriptions": 10,
            "self_publish": True,
            "batch": 10,
            "payload": 50,
            "rate": 100,
        },
    )


def idle_sessions(sessions: int, idle: float, *, quick: bool = False) -> Scenario:
    """Return a scenario of sessions that connect and then stay idle."""
    return Scenario(
        name=f"sessions-{sessions}",
        title=f"{sessions:,} WebSocket sessions: setup, memory, idle CPU",
        transport=WEBSOCKET,
        load={
            "clients": sessions,
            "publishers": 0,
            "seconds": 0,
            "idle": idle,
            "keep_open": True,  # the server is stopped afterwards
        },
        fresh=True,
        quick=quick,
        metric="set_up_us",
    )


def _personal_sessions(sessions: int) -> Scenario:
    """Return a scenario of idle sessions, each subscribed to a channel of its own."""
    common = idle_sessions(sessions, 2.0)
    return replace(
        common,
        name=f"personal-{sessions}",
        title=f"{sessions:,} WebSocket sessions with a channel each: setup, memory",
        load={**common.load, "channels": sessions},
        quick=False,
    )


# Traffic of many channels with one subscriber each, on nodes A, B, ... of one Redis.

_IN_FLIGHT: Final = {
    "20": ("20 in flight", {"window": 20}),
    "200": ("200 in flight", {"window": 200}),
    "rate": ("500 a second", {"rate": 500}),
}


def _one_to_one(pace: str, *, third_node: bool = False) -> Scenario:
    """Return a scenario of messages from A to B; a third node has no clients."""
    title, load = _IN_FLIGHT[pace]
    third = ", and C without clients" if third_node else ""
    return Scenario(
        name=f"{'idle-node' if third_node else 'one-to-one'}-{pace}",
        title=f"One-to-one on 500 channels from A to B{third}, {title}",
        transport=WEBSOCKET,
        load={"clients": 500, "channels": 500, "publishers": 100, **load},
        metric="c_us" if third_node else "publish_us",
        # Centrifugo's third node does nothing, to which there is no ratio.
        baseline="" if third_node else "centrifugo-redis",
        nodes=3 if third_node else 2,
        publish_on=(0,),
        subscribe_on=(1,),
    )


def _one_to_one_on(nodes: int) -> Scenario:
    """Return a scenario of messages from each node to the next one.

    A publisher's channels are p, p + publishers, ..., where p is its number; both are
    multiples of the number of nodes.  The rate is the same for any number of nodes:
    with messages in flight, fewer would share a write, which costs more at any server.
    """
    return Scenario(
        name=f"nodes-{nodes}",
        title=f"One-to-one on 400 channels on {nodes} nodes, 500 a second in all",
        transport=WEBSOCKET,
        load={"clients": 400, "channels": 400, "publishers": 80, "rate": 500},
        metric="publish_us",
        baseline="centrifugo-redis",
        nodes=nodes,
        publish_on=range(nodes),
        subscribe_on=(*range(1, nodes), 0),
    )


SCENARIOS: Final = (
    _fan_out(10, quick=True),
    _fan_out(100, quick=True),
    _fan_out(1000, quick=True),
    Scenario(
        name="ws-pairs",
        title="100 publishers, one subscriber each, WebSocket",
        transport=WEBSOCKET,
        load={"clients": 100, "channels": 100, "publishers": 100, "window": 100},
        quick=True,
    ),
    Scenario(
        name="ws-rate",
        title="WebSocket fan-out to 100, 100 messages a second",
        transport=WEBSOCKET,
        load={"clients": 100, "rate": 100},
    ),
    _polling(10, 10),
    _polling(100, 10, quick=True),
    _polling(1000, 10, quick=True),
    _polling(10, 1, quick=True),
    _polling(100, 1, quick=True),
    _polling(1000, 1, quick=True),
    _large(WEBSOCKET, "ws-100kb"),
    _large(POLLING, "lp-100kb"),
    _chat(WEBSOCKET, "chat-ws"),
    _chat(POLLING, "chat-lp"),
    idle_sessions(5000, 8.0, quick=True),
    _personal_sessions(5000),
    *(_one_to_one(pace) for pace in _IN_FLIGHT),
    *(_one_to_one(pace, third_node=True) for pace in _IN_FLIGHT),
    *(_one_to_one_on(nodes) for nodes in (2, 4, 8)),
)
