"""How many nodes, and how much of Redis, a number of sessions needs.

``python -m benchmarks.scaling`` writes the tables and the plot of
``docs/explanation/scaling.md`` from the figures here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from benchmarks.machine import ROOT
from benchmarks.plot import Bar, bar_width, drawing
from txbayeux.engine.redis import RedisOptions

PAGE: Final = ROOT / "docs" / "explanation" / "scaling.md"
_RETAINED: Final = RedisOptions()
PLOT: Final = PAGE.with_suffix(".svg")

SIZES: Final = (100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Figures:
    """What was measured, in µs of CPU and in bytes, with WebSocket clients.

    With many messages in flight, as at the limit of a node or of Redis: with few, a
    message costs several times as much, which does not matter where there is room.
    """

    publish: float = 18.0
    """A node: a message from a client, and the reply.  A minus B in one-to-one-200."""
    entry: float = 12.0
    """A node: a message from Redis that its sessions want.  B, less a delivery."""
    delivery: float = 1.5
    """A node: a delivery.  B in ws-1000, divided by 500."""
    idle: float = 3.0
    """A node: one session for a second: 10,000 sessions with a channel each, 60 s."""
    set_up: float = 300.0
    """A node: a session with a channel."""
    redis_publish: float = 7.0
    """Redis: a message, without the nodes that want it."""
    redis_node: float = 1.6
    """Redis: each node that wants it.  1, 2, 4 and 8 nodes: 8, 10, 13 and 19."""
    redis_idle: float = 0.32
    """Redis: one session for a second, less what Redis takes without sessions."""
    redis_set_up: float = 85.0
    """Redis: a session with a channel."""
    redis_session: float = 770.0
    """Bytes of Redis for a session with a channel of its own."""
    redis_log: float = 2**28 * 1.5
    """Bytes of Redis for the log, at the default of ``retained_bytes``."""
    message: float = 350.0
    """Bytes of a message between Redis and a node: 200 of data, channel, positions."""


@dataclass(frozen=True)
class Limits:
    """How much is used at most."""

    busy: float = 0.6
    """Of a core, by a node or by Redis: the rest is for peaks."""
    node_sessions: int = 25_000
    """On one node: events that concern all of them stop it for up to a second."""
    redis_memory: float = 32e9
    """Bytes."""
    redis_network: float = 0.6 * 1.25e9
    """Bytes a second: of 10 Gbit/s."""


@dataclass(frozen=True)
class Traffic:
    """One kind of traffic."""

    name: str
    published: Callable[[int], float]
    """Messages a second, by the number of sessions."""
    subscribers: Callable[[int], float]
    """Subscribers of a channel, by the number of sessions."""


TRAFFIC: Final = (
    Traffic("broadcast: 1 message a second to all", lambda _: 1, lambda n: n),
    Traffic(
        "rooms of 100: 1 message a second in each",
        lambda n: n / 100,
        lambda _: 100,
    ),
    Traffic(
        "one-to-one: 1 message from each in 10 seconds",
        lambda n: n / 10,
        lambda _: 1,
    ),
)


@dataclass(frozen=True)
class Needs:
    """What one kind of traffic needs."""

    nodes: int
    node_busy: float
    """Of a core, on each node."""
    interested: float
    """Nodes that want a message."""
    redis_busy: float
    """Of a core."""
    redis_memory: float
    redis_network: float
    log: float
    """Seconds of messages that the log has, at most."""
    set_up: float
    """Seconds until all sessions are set up again."""

    def relative(self, limits: Limits) -> dict[str, float]:
        """Return each need of Redis, relative to the most that is used."""
        return {
            "CPU": self.redis_busy / limits.busy,
            "network": self.redis_network / limits.redis_network,
            "memory": self.redis_memory / limits.redis_memory,
        }


def needs(traffic: Traffic, sessions: int, figures: Figures, limits: Limits) -> Needs:
    """Return what this traffic of so many sessions needs."""
    published = traffic.published(sessions)
    subscribers = traffic.subscribers(sessions)
    nodes = ceil(sessions / limits.node_sessions)
    while True:
        # Subscribers are on any nodes: the expected number of different ones.
        interested = nodes * (1 - (1 - 1 / nodes) ** subscribers)
        busy = 1e-6 * (
            sessions * figures.idle
            + published * figures.publish
            + published * interested * figures.entry
            + published * subscribers * figures.delivery
        )
        if busy <= nodes * limits.busy:
            break
        nodes = max(nodes + 1, ceil(busy / limits.busy))
    redis_message = figures.redis_publish + interested * figures.redis_node
    return Needs(
        nodes=nodes,
        node_busy=busy / nodes,
        interested=interested,
        redis_busy=1e-6 * (sessions * figures.redis_idle + published * redis_message),
        redis_memory=sessions * figures.redis_session + figures.redis_log,
        redis_network=published * interested * figures.message,
        log=min(_RETAINED.retained_seconds, _RETAINED.retained_messages / published),
        set_up=1e-6
        * max(sessions / nodes * figures.set_up, sessions * figures.redis_set_up),
    )


def table(figures: Figures, limits: Limits) -> list[str]:
    """Return the lines of the table, as Markdown."""
    lines = [
        "| traffic | sessions | messages/s | nodes | each busy | Redis: CPU | memory |"
        " network | log covers | set up again | most used |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for traffic in TRAFFIC:
        for sessions in SIZES:
            need = needs(traffic, sessions, figures, limits)
            relative = need.relative(limits)
            first = max(relative, key=lambda name: relative[name])
            bold = "**" if relative[first] > 1 else ""
            cells = [
                traffic.name if sessions == SIZES[0] else "",
                f"{sessions:,}",
                f"{traffic.published(sessions):,.0f}",
                f"{need.nodes:,}",
                f"{need.node_busy:.0%}",
                f"{need.redis_busy:.0%}",
                f"{need.redis_memory / 1e9:.1f} GB",
                f"{_short(need.redis_network / 1e6)} MB/s",
                f"{_short(need.log)} s",
                f"{need.set_up:,.0f} s",
                f"{bold}{first}: {relative[first]:.2g}{bold}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def capacity(traffic: Traffic, figures: Figures, limits: Limits) -> int:
    """Return the largest number of sessions, of two digits, that one Redis carries."""
    carried = 10_000
    while True:
        larger = carried + 10 ** (len(str(carried)) - 2)
        if max(needs(traffic, larger, figures, limits).relative(limits).values()) > 1:
            return carried
        carried = larger


def capacity_table(figures: Figures, limits: Limits) -> list[str]:
    """Return the lines of a table of what one Redis carries."""
    lines = [
        "| traffic | one Redis carries | with messages/s | on nodes |",
        "|---|---:|---:|---:|",
    ]
    for traffic in TRAFFIC:
        sessions = capacity(traffic, figures, limits)
        nodes = needs(traffic, sessions, figures, limits).nodes
        published = traffic.published(sessions)
        lines.append(
            f"| {traffic.name} | {sessions:,} sessions | {published:,.0f} | {nodes} |"
        )
    return lines


def cost_table(figures: Figures) -> list[str]:
    """Return the lines of a table of the costs."""
    rows = (
        ("message from a client", figures.publish, ""),
        ("message", "", figures.redis_publish),
        ("message for a node that wants it", figures.entry, figures.redis_node),
        ("delivery", figures.delivery, ""),
        ("idle session, each second", figures.idle, figures.redis_idle),
        ("set-up of a session", figures.set_up, figures.redis_set_up),
    )
    lines = ["| µs of CPU | node | Redis |", "|---|---:|---:|"]
    return [*lines, *(f"| {name} | {node} | {redis} |" for name, node, redis in rows)]


def _short(number: float) -> str:
    return f"{number:,.1f}" if number < 10 else f"{number:,.0f}"


def _ratio(value: float) -> str:
    return f"{value:.2g}" if value >= 0.01 else "below 0.01"


def plot(figures: Figures, limits: Limits) -> str:
    """Return a drawing of what is used of Redis, relative to the most."""
    groups = []
    for traffic in TRAFFIC:
        for sessions in SIZES:
            relative = needs(traffic, sessions, figures, limits).relative(limits)
            groups.append((f"{traffic.name}; {sessions:,} sessions", _bars(relative)))
    subtitle = "Relative to what one Redis should carry = 1; bold: more than that"
    return drawing("One Redis, by kind of traffic", subtitle, groups, grid=True)


def _bars(relative: dict[str, float]) -> Sequence[Bar]:
    colours = {"CPU": "#a41e22", "network": "#2d5f8b", "memory": "#c9b458"}
    return [
        Bar([(bar_width(value), colours[name])], f"{_ratio(value)}  {name}", value > 1)
        for name, value in relative.items()
    ]


def updated(page: str, figures: Figures, limits: Limits) -> str:
    """Return the page with the tables between their marks."""
    tables = {
        "needs": table(figures, limits),
        "capacity": capacity_table(figures, limits),
        "costs": cost_table(figures),
    }
    for name, lines in tables.items():
        start, end = f"<!-- {name} -->\n", "\n<!-- end -->"
        before, _, rest = page.partition(start)
        page = "".join([before, start, "\n".join(lines), end, rest.partition(end)[2]])
    return page


def main() -> None:
    """Write the tables and the plot."""
    figures, limits = Figures(), Limits()
    PAGE.write_text(updated(PAGE.read_text(), figures, limits))
    PLOT.write_text(plot(figures, limits))


if __name__ == "__main__":
    main()
