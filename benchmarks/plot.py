"""Draw the ratios as SVG: bars on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10
from typing import Final

from benchmarks.peers import PEERS
from benchmarks.report import Results
from benchmarks.scenarios import Scenario

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
    "autobahn": "#c9b458",
}
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 330, 560, 13, 18, 64
_LOW, _HIGH = 0.05, 20.0


def ratios(results: Results, scenarios: Sequence[Scenario], title: str) -> str:
    """Return a drawing of each server's cost relative to Faye for Node."""
    body: list[str] = []
    y = _TOP
    for scenario in scenarios:
        start = y
        for peer in PEERS:
            ratio = results.ratio(scenario.name, peer.name, scenario.metric)
            if ratio is not None:
                body += _bar(y, peer.name, peer.title, ratio)
                y += _BAR + 2
        if y > start:
            middle = (start + y) / 2 + 4
            body.append(_text(_LEFT - 12, middle, scenario.title, "end"))
            y += _GAP
    grid = [_grid_line(value, y) for value in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
    width, height = _LEFT + _WIDTH + 130, y + 24
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}"'
            f' height="{height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            _text(16, 24, title, "start", 'font-size="16" font-weight="bold"'),
            _text(16, 42, "Server CPU, Faye for Node = 1; shorter is better", "start"),
            *grid,
            *body,
            "</svg>",
            "",
        ]
    )


def _position(ratio: float) -> float:
    bounded = min(max(ratio, _LOW), _HIGH)
    return _LEFT + _WIDTH * log10(bounded / _LOW) / log10(_HIGH / _LOW)


def _bar(y: float, peer: str, title: str, ratio: float) -> list[str]:
    end = _position(ratio)
    weight = 'font-weight="bold"' if peer == "txbayeux" else ""
    return [
        f'<rect x="{_LEFT}" y="{y}" width="{end - _LEFT:.1f}" height="{_BAR}"'
        f' fill="{_COLOURS[peer]}"/>',
        _text(end + 5, y + _BAR - 2, f"{ratio:.2f}  {title}", "start", weight),
    ]


def _grid_line(value: float, bottom: float) -> str:
    x = _position(value)
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
