"""Run the benchmarks and write a report to build/bench."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from benchmarks import growth, many_channels, pauses, plot, redis_nodes, report
from benchmarks.generator import compile_generator
from benchmarks.machine import BUILD, allow_many_files, description, load_average
from benchmarks.peers import PEERS, Peer
from benchmarks.scenarios import SCENARIOS, Scenario, idle_sessions
from benchmarks.suite import Suite, available, progress

_QUICK_SECONDS = 0.5
_FULL_SECONDS = 1.5

_TABLES: Final[dict[str, Callable[[Path, float], list[growth.Series]]]] = {
    "growth": growth.measure,
    "pauses": lambda program, _: pauses.measure(program),
    "redis": redis_nodes.measure,
    "many-channels": lambda program, _: many_channels.measure(program),
}
"""What else is measured, on txbayeux only."""

_Kind = TypeVar("_Kind", Peer, Scenario)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer scenarios and servers; a few minutes",
    )
    parser.add_argument(
        "--repeats", type=int, help="number of rounds (default: 3; with --quick: 2)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help="length of each measurement (default: 1.5; with --quick: 0.5)",
    )
    parser.add_argument(
        "--scenarios", help="run only these: names, separated by commas"
    )
    parser.add_argument("--peers", help="run only these: names, separated by commas")
    parser.add_argument(
        "--no-growth",
        action="store_true",
        help=f"skip the tables: {', '.join(_TABLES)}",
    )
    parser.add_argument(
        "--tables", help="run only these, and no scenario: names, separated by commas"
    )
    return parser.parse_args()


def _tables(names: str | None) -> list[str]:
    """Return the names of the tables to measure."""
    wanted = names.split(",") if names else list(_TABLES)
    unknown = set(wanted) - set(_TABLES)
    if unknown:
        raise SystemExit(
            f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(_TABLES)}"
        )
    return wanted


def _chosen(known: Sequence[_Kind], names: str | None, *, quick: bool) -> list[_Kind]:
    """Return those with these names, or without names, all or those for a quick run."""
    if not names:
        return [one for one in known if one.quick or not quick]
    wanted = names.split(",")
    unknown = set(wanted) - {one.name for one in known}
    if unknown:
        raise SystemExit(
            f"unknown: {', '.join(sorted(unknown))};"
            f" there are {', '.join(one.name for one in known)}"
        )
    return [one for one in known if one.name in wanted]


def main() -> None:
    arguments = _arguments()
    started = time.monotonic()
    scenarios = _chosen(SCENARIOS, arguments.scenarios, quick=arguments.quick)
    wanted = _chosen(PEERS, arguments.peers, quick=arguments.quick)
    tables = _tables(arguments.tables)
    if arguments.tables:
        scenarios, wanted = [], []
    repeats = arguments.repeats or (2 if arguments.quick else 3)
    seconds = arguments.seconds or (
        _QUICK_SECONDS if arguments.quick else _FULL_SECONDS
    )

    load = load_average()
    allow_many_files()
    program = compile_generator()
    peers, versions, notes = available(wanted)
    if load > 0.5:
        notes.append(f"The machine was not idle: the load average was {load:.1f}.")
    if arguments.quick:
        scenarios = [
            idle_sessions(5000, 2.0) if one.name == "sessions-5000" else one
            for one in scenarios
        ]
    suite = Suite(program, seconds)
    for repeat in range(repeats if scenarios else 0):
        suite.round(repeat, scenarios, peers)

    about = {
        "machine": description(),
        "versions": versions,
        "repeats": repeats,
        "seconds": seconds,
        "notes": notes,
    }
    results = report.Results(about, scenarios, suite.measurements)
    text = report.markdown(results, notes)
    if arguments.tables or not (arguments.quick or arguments.no_growth):
        series = [one for name in tables for one in _TABLES[name](program, seconds)]
        text += "\n".join(["", "## Growth", "", *growth.markdown(series), ""])
    (BUILD / "results.json").write_text(results.json())
    (BUILD / "report.md").write_text(text)
    drawings = {
        "ratios": plot.ratios(results, scenarios, "txbayeux and comparable servers"),
        "targets": plot.targets(results),
        "processes": plot.processes(results, scenarios),
    }
    for name, drawing in drawings.items():
        (BUILD / f"{name}.svg").write_text(drawing)
    print(text)
    progress(
        f"{(time.monotonic() - started) / 60:.1f} minutes; the report is in {BUILD}"
    )


main()
