"""Medians, ratios and targets, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from benchmarks.peers import PEERS
from benchmarks.scenarios import PROCESSES, Scenario
from benchmarks.suite import Measurement
from benchmarks.targets import TARGETS, Target


@dataclass(frozen=True)
class Results:
    """All measurements of a run."""

    about: Mapping[str, Any]
    scenarios: Sequence[Scenario]
    measurements: Sequence[Measurement]

    def metrics(self, scenario: str, peer: str, metric: str) -> dict[int, float]:
        """Return a metric by round, without failed measurements."""
        return {
            one.repeat: one.metrics[metric]
            for one in self.measurements
            if (one.scenario, one.peer) == (scenario, peer) and not one.failure
        }

    def median(self, scenario: str, peer: str, metric: str) -> float | None:
        found = self.metrics(scenario, peer, metric).values()
        return median(found) if found else None

    def ratio(
        self, scenario: str, peer: str, metric: str, other: str, base: str = ""
    ) -> float | None:
        """Return the median over the rounds of the ratio within each round.

        :param base: the other server's scenario, if it is not the same one.
        """
        own = self.metrics(scenario, peer, metric)
        others = self.metrics(base or scenario, other, metric)
        ratios = [
            own[repeat] / others[repeat] for repeat in own if others.get(repeat, 0) > 0
        ]
        return median(ratios) if ratios else None

    def relative_cost(self, scenario: Scenario, peer: str) -> float | None:
        """Return the ratio to the server that the scenario's ratios are relative to."""
        return self.ratio(scenario.name, peer, scenario.metric, scenario.baseline)

    def target_values(self, target: Target) -> list[float] | None:
        """Return a ratio or value by scenario; None if a scenario was not measured."""
        values = [self._target_value(target, name) for name in target.scenarios]
        measured = [value for value in values if value is not None]
        return measured if len(measured) == len(values) else None

    def _target_value(self, target: Target, scenario: str) -> float | None:
        own = (scenario, target.server, target.metric)
        if not target.peer:
            return self.median(*own)
        return self.ratio(*own, target.peer, target.base)

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
    """Return the lines of a table of the targets and whether they are met."""
    titles = {peer.name: peer.title for peer in PEERS}
    lines = [
        "| target | compared with | at most | measured | met |",
        "|---|---|---:|---:|---|",
    ]
    for target in TARGETS:
        values = results.target_values(target)
        if values is None:
            shown, verdict = "not measured", ""
        else:
            shown = ", ".join(f"{value:.2f}" for value in values)
            verdict = "yes" if max(values) <= target.at_most else "**no**"
        lines.append(
            f"| {target.title} | {titles.get(target.peer, '')} | {target.at_most:.2f}"
            f" | {shown} | {verdict} |"
        )
    return lines


def markdown(results: Results, notes: Iterable[str]) -> str:
    """Return the whole report."""
    lines = ["# Benchmarks", "", f"{results.about['machine']}.", ""]
    lines += [f"- {name}: {which}" for name, which in results.about["versions"].items()]
    lines += [f"- {note}" for note in notes]
    lines += [
        "",
        f"Medians of {results.about['repeats']} interleaved rounds of"
        f" {results.about['seconds']} s per measurement; the server runs on one core,"
        " the load generator on another. CPU is user and system time of all threads"
        " and processes of the server. A ratio is the median over the rounds of the"
        " ratio to Faye for Node within a round; for one-to-one messages between nodes,"
        " to Centrifugo on Redis. txbayeux, Centrifugo and Socket.IO on Redis have two"
        " nodes unless the scenario says otherwise.",
        "",
        "## Targets",
        "",
        *targets_table(results),
    ]
    for scenario in results.scenarios:
        lines += ["", f"## {scenario.title}", "", *_table(results, scenario)]
    failures = results.failures()
    if failures:
        lines += ["", "## Failures", ""]
        lines += [
            f"- {one.scenario} on {one.peer}, round {one.repeat + 1}: {one.failure}"
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
    "set_up_us": ("CPU per new session, µs", "{:.0f}"),
    "session_kib": ("memory per session, KiB", "{:.1f}"),
    "idle_us": ("CPU per idle session per second, µs", "{:.2f}"),
}


_LATENCY: Final = {name: _DELIVERY[name] for name in ("p50_ms", "p99_ms")}


def _columns(scenario: Scenario) -> Mapping[str, tuple[str, str]]:
    """Return heads and formats of the metrics that are shown."""
    if scenario.fresh:
        return _SESSIONS
    if not scenario.nodes:
        return _DELIVERY
    parts = PROCESSES[: scenario.nodes + 1] if scenario.nodes <= 3 else PROCESSES[:1]
    by_process = {f"{name.lower()}_us": (f"of {name}", "{:.2f}") for name in parts}
    return {"publish_us": ("CPU per message, µs", "{:.2f}"), **by_process, **_LATENCY}


def _table(results: Results, scenario: Scenario) -> list[str]:
    columns = _columns(scenario)
    heads = [title for title, _ in columns.values()]
    lines = [
        f"| server | {' | '.join(heads)} | ratio |",
        "|---|" + "---:|" * (len(heads) + 1),
    ]
    for peer in PEERS:
        if results.median(scenario.name, peer.name, scenario.metric) is None:
            continue
        cells = [
            form.format(results.median(scenario.name, peer.name, metric))
            for metric, (_, form) in columns.items()
        ]
        ratio = results.relative_cost(scenario, peer.name)
        cells.append("" if ratio is None else f"{ratio:.2f}")
        lines.append(f"| {peer.title} | {' | '.join(cells)} |")
    return lines
