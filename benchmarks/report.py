"""What came out: medians, ratios, the targets, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from benchmarks.peers import PEERS
from benchmarks.scenarios import Scenario
from benchmarks.suite import Measurement
from benchmarks.targets import TARGETS, Target

BASELINE: Final = "faye-node"


@dataclass(frozen=True)
class Results:
    """Everything that a run measured."""

    about: Mapping[str, Any]
    scenarios: Sequence[Scenario]
    measurements: Sequence[Measurement]

    def figures(self, scenario: str, peer: str, figure: str) -> dict[int, float]:
        """Return a figure by repeat, without failed ones."""
        return {
            one.repeat: one.figures[figure]
            for one in self.measurements
            if (one.scenario, one.peer) == (scenario, peer) and not one.failure
        }

    def median(self, scenario: str, peer: str, figure: str) -> float | None:
        found = self.figures(scenario, peer, figure).values()
        return median(found) if found else None

    def ratio(
        self, scenario: str, peer: str, figure: str, other: str = BASELINE
    ) -> float | None:
        """Return the median of the ratios: each compares neighbours in time."""
        own = self.figures(scenario, peer, figure)
        others = self.figures(scenario, other, figure)
        ratios = [
            own[repeat] / others[repeat] for repeat in own if others.get(repeat, 0) > 0
        ]
        return median(ratios) if ratios else None

    def reached(self, target: Target) -> list[float] | None:
        """Return a target's ratios, None if one of its scenarios was not measured."""
        ratios = [
            self.ratio(name, target.ours, target.figure, target.peer)
            for name in target.scenarios
        ]
        there = [ratio for ratio in ratios if ratio is not None]
        return there if len(there) == len(ratios) else None

    def failures(self) -> list[Measurement]:
        return [one for one in self.measurements if one.failure]

    def json(self) -> str:
        return json.dumps(
            {
                "about": self.about,
                "measurements": [asdict(one) for one in self.measurements],
            },
            indent=1,
        )


def targets_table(results: Results) -> list[str]:
    """Return a table of the targets, and whether each is met."""
    titles = {peer.name: peer.title for peer in PEERS}
    lines = [
        "| target | compared with | at most | measured | |",
        "|---|---|---:|---:|---|",
    ]
    for target in TARGETS:
        reached = results.reached(target)
        if reached is None:
            shown, verdict = "not measured", ""
        else:
            shown = ", ".join(f"{ratio:.2f}" for ratio in reached)
            verdict = "yes" if max(reached) <= target.most else "**no**"
        lines.append(
            f"| {target.title} | {titles[target.peer]} | {target.most:.2f}"
            f" | {shown} | {verdict} |"
        )
    return lines


def markdown(results: Results, notes: Iterable[str]) -> str:
    """Write the whole report."""
    lines = ["# Benchmarks", "", f"{results.about['machine']}.", ""]
    lines += [f"- {name}: {which}" for name, which in results.about["versions"].items()]
    lines += [f"- {note}" for note in notes]
    lines += [
        "",
        f"Medians of {results.about['repeats']} interleaved repeats of"
        f" {results.about['seconds']} s each; the server on one core, the load on"
        " another. CPU is the server's own, user and system, all its threads and"
        " processes. A ratio is the median of each repeat's ratio to Faye for Node.",
        "",
        "## Targets",
        "",
        *targets_table(results),
    ]
    for scenario in results.scenarios:
        lines += ["", f"## {scenario.title}", "", *_table(results, scenario)]
    failures = results.failures()
    if failures:
        lines += ["", "## What failed", ""]
        lines += [
            f"- {one.scenario} on {one.peer}, repeat {one.repeat + 1}: {one.failure}"
            for one in failures
        ]
    return "\n".join([*lines, ""])


_DELIVERY: Final = {
    "delivery_us": ("CPU per delivery, µs", "{:.2f}"),
    "deliveries_per_second": ("deliveries per second", "{:,.0f}"),
    "p50_ms": ("p50, ms", "{:.1f}"),
    "p99_ms": ("p99, ms", "{:.1f}"),
}
_SESSIONS: Final = {
    "set_up_us": ("CPU per set-up, µs", "{:.0f}"),
    "session_kib": ("memory per session, KiB", "{:.1f}"),
    "idle_us": ("CPU per idle session and second, µs", "{:.2f}"),
}


def _table(results: Results, scenario: Scenario) -> list[str]:
    columns = _SESSIONS if scenario.fresh else _DELIVERY
    heads = [title for title, _ in columns.values()]
    lines = [
        f"| server | {' | '.join(heads)} | ratio |",
        "|---|" + "---:|" * (len(heads) + 1),
    ]
    for peer in PEERS:
        if results.median(scenario.name, peer.name, scenario.figure) is None:
            continue
        cells = [
            form.format(results.median(scenario.name, peer.name, figure))
            for figure, (_, form) in columns.items()
        ]
        ratio = results.ratio(scenario.name, peer.name, scenario.figure)
        cells.append("" if ratio is None else f"{ratio:.2f}")
        lines.append(f"| {peer.title} | {' | '.join(cells)} |")
    return lines
