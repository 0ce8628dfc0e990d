"""Draw the results as SVG: ratios, targets, and the CPU of each process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from typing import Final

from benchmarks.peers import PEERS
from benchmarks.report import Results
from benchmarks.scenarios import PROCESSES, Scenario
from benchmarks.targets import TARGETS

_COLOURS: Final = {
    "txbayeux": "#b5382a",
    "txbayeux-nested": "#dd8a6f",
    "txbayeux-extended": "#e9b9a6",
    "faye-node": "#3a4a5c",
    "txbayeux-redis": "#c46a1b",
    "faye-redis": "#7d92a8",
    "faye-ruby": "#b9c5d1",
    "cometd-node": "#2f7d6b",
    "cometd-java": "#86bfae",
    "centrifugo": "#5b4a8a",
    "centrifugo-redis": "#8474b5",
    "centrifugo-recovery": "#b1a6d3",
    "socketio-redis": "#55606b",
    "autobahn": "#c9b458",
}
_PROCESS_COLOURS: Final = dict(
    zip(
        PROCESSES,
        ("#a41e22", "#2d5f8b", "#5c93c4", "#9cc3e4", *["#c9d9e6", "#b3c9db"] * 3),
        strict=False,
    )
)
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 520, 560, 13, 18, 64
_LOW, _HIGH = 0.05, 20.0


@dataclass(frozen=True)
class Bar:
    """A bar of one or more parts, each with its colour, and the text beside it."""

    parts: Sequence[tuple[float, str]]
    """Widths in pixels and colours."""
    text: str
    bold: bool = False


def ratios(results: Results, scenarios: Sequence[Scenario], title: str) -> str:
    """Return a drawing of each server's cost relative to that of another one."""
    groups = []
    for scenario in scenarios:
        bars = []
        for peer in PEERS:
            ratio = results.relative_cost(scenario, peer.name)
            if ratio is not None:
                part = (bar_width(ratio), _COLOURS[peer.name])
                bold = peer.name == "txbayeux"
                bars.append(Bar([part], f"{ratio:.2f}  {peer.title}", bold))
        groups.append((scenario.title, bars))
    subtitle = (
        "Server CPU, Faye for Node = 1, between nodes Centrifugo on Redis = 1;"
        " shorter is better"
    )
    return drawing(title, subtitle, groups, grid=True)


def targets(results: Results) -> str:
    """Return a drawing of each target's ratio, relative to the most that is allowed."""
    titles = {peer.name: peer.title for peer in PEERS}
    groups = []
    for target in TARGETS:
        values = results.target_values(target) or []
        bars = [
            Bar(
                [(bar_width(value / target.at_most), _COLOURS[target.server])],
                f"{value:.2f} of {target.at_most:.2f}  {name}",
                value > target.at_most,
            )
            for value, name in zip(values, target.scenarios, strict=False)
        ]
        other = titles.get(target.peer)
        groups.append((f"{target.title}; {other}" if other else target.title, bars))
    subtitle = "Measured, relative to the most that is allowed = 1; bold: not met"
    return drawing("Targets", subtitle, groups, grid=True)


def processes(results: Results, scenarios: Sequence[Scenario]) -> str:
    """Return a drawing of the CPU per message of Redis and of each node.

    Each scenario has its own scale: its longest bar fills the width.
    """
    groups = [
        (scenario.title, _process_bars(results, scenario))
        for scenario in scenarios
        if scenario.nodes
    ]
    subtitle = "µs of CPU per message, from left to right: Redis, then nodes A, B, ..."
    return drawing("CPU of the processes", subtitle, groups, grid=False)


def _process_bars(results: Results, scenario: Scenario) -> list[Bar]:
    names = PROCESSES[: scenario.nodes + 1]
    costs: dict[str, list[float]] = {}
    for peer in PEERS:
        if results.median(scenario.name, peer.name, "publish_us") is not None:
            costs[peer.title] = [
                results.median(scenario.name, peer.name, f"{name.lower()}_us") or 0.0
                for name in names
            ]
    longest = max((sum(parts) for parts in costs.values()), default=1.0)
    colours = [_PROCESS_COLOURS[name] for name in names]
    return [
        Bar(
            [
                (part / longest * _WIDTH * 0.8, colour)
                for part, colour in zip(parts, colours, strict=True)
            ],
            f"{sum(parts):.1f}  {title}",
            title.startswith("txbayeux"),
        )
        for title, parts in costs.items()
    ]


def drawing(
    title: str,
    subtitle: str,
    groups: Sequence[tuple[str, Sequence[Bar]]],
    *,
    grid: bool,
) -> str:
    """Return an SVG of groups of bars; groups without bars are left out."""
    body: list[str] = []
    y = _TOP
    for label, bars in groups:
        start = y
        for bar in bars:
            body += _bar(y, bar)
            y += _BAR + 2
        if bars:
            body.append(_text(_LEFT - 12, (start + y) / 2 + 4, label, "end"))
            y += _GAP
    lines = [_grid_line(value, y) for value in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
    width, height = _LEFT + _WIDTH + 240, y + 24
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}"'
            f' height="{height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            _text(16, 24, title, "start", 'font-size="16" font-weight="bold"'),
            _text(16, 42, subtitle, "start"),
            *(lines if grid else []),
            *body,
            "</svg>",
            "",
        ]
    )


def bar_width(ratio: float) -> float:
    """Return the length of a bar on the logarithmic scale."""
    bounded = min(max(ratio, _LOW), _HIGH)
    return _WIDTH * log10(bounded / _LOW) / log10(_HIGH / _LOW)


def _bar(y: float, bar: Bar) -> list[str]:
    drawn = []
    x = float(_LEFT)
    for width, colour in bar.parts:
        drawn.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"'
            f' fill="{colour}"/>'
        )
        x += width
    weight = 'font-weight="bold"' if bar.bold else ""
    return [*drawn, _text(x + 5, y + _BAR - 2, bar.text, "start", weight)]


def _grid_line(value: float, bottom: float) -> str:
    x = _LEFT + bar_width(value)
    colour = "#888888" if value == 1 else "#dddddd"
    return (
        f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}"'
        f' stroke="{colour}"/>' + _text(x, bottom + 14, f"{value:g}", "middle")
    )


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>'
        f"{escape(text)}</text>"
    )
