"""Run the benchmarks and write a report to build/bench."""

from __future__ import annotations

import argparse
import time

from benchmarks import growth, pauses, plot, redis_nodes, report
from benchmarks.generator import compile_generator
from benchmarks.machine import BUILD, allow_many_files, description, load_average
from benchmarks.peers import PEERS
from benchmarks.scenarios import SCENARIOS, idle_sessions
from benchmarks.suite import Suite, available, progress

_QUICK_SECONDS = 0.5
_FULL_SECONDS = 1.5


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
        help="skip the growth, pause and Redis tables",
    )
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    started = time.monotonic()
    scenarios = [one for one in SCENARIOS if one.quick or not arguments.quick]
    if arguments.scenarios:
        names = arguments.scenarios.split(",")
        scenarios = [one for one in SCENARIOS if one.name in names]
    wanted = [one for one in PEERS if one.quick or not arguments.quick]
    if arguments.peers:
        wanted = [one for one in PEERS if one.name in arguments.peers.split(",")]
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
    for repeat in range(repeats):
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
    if not (arguments.quick or arguments.no_growth):
        tables = [
            *growth.measure(program, seconds),
            *pauses.measure(program),
            *redis_nodes.measure(program, seconds),
        ]
        text += "\n".join(["", "## Growth", "", *growth.markdown(tables), ""])
    (BUILD / "results.json").write_text(results.json())
    (BUILD / "report.md").write_text(text)
    drawing = plot.ratios(results, scenarios, "txbayeux and comparable servers")
    (BUILD / "ratios.svg").write_text(drawing)
    print(text)
    progress(
        f"{(time.monotonic() - started) / 60:.1f} minutes; the report is in {BUILD}"
    )


main()
