"""python -m benchmarks: measure, and write what came out to build/bench."""

from __future__ import annotations

import argparse
import time

from benchmarks import growth, pauses, plot, report, sharing
from benchmarks.generator import compile_generator
from benchmarks.machine import BUILD, allow_many_files, busy_elsewhere, description
from benchmarks.peers import PEERS
from benchmarks.scenarios import SCENARIOS, idle_sessions
from benchmarks.suite import Suite, available, say

_QUICK_SECONDS = 0.5
_FULL_SECONDS = 1.5


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a few minutes, fewer scenarios"
    )
    parser.add_argument("--repeats", type=int, help="3, quick: 2")
    parser.add_argument("--seconds", type=float, help="length of each measurement")
    parser.add_argument("--scenarios", help="only these, by name, with commas")
    parser.add_argument("--peers", help="only these, by name, with commas")
    parser.add_argument("--no-growth", action="store_true", help="peers only")
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    began = time.monotonic()
    scenarios = [one for one in SCENARIOS if one.quick or not given.quick]
    if given.scenarios:
        names = given.scenarios.split(",")
        scenarios = [one for one in SCENARIOS if one.name in names]
    wanted = [one for one in PEERS if one.quick or not given.quick]
    if given.peers:
        wanted = [one for one in PEERS if one.name in given.peers.split(",")]
    repeats = given.repeats or (2 if given.quick else 3)
    seconds = given.seconds or (_QUICK_SECONDS if given.quick else _FULL_SECONDS)

    load = busy_elsewhere()
    allow_many_files()
    program = compile_generator()
    peers, versions, notes = available(wanted)
    if load > 0.5:
        notes.append(f"The machine was doing other work too: load average {load:.1f}.")
    if given.quick:
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
    if not (given.quick or given.no_growth):
        points = [
            *growth.measure(program, seconds),
            *pauses.measure(program),
            *sharing.measure(program, seconds),
        ]
        text += "\n".join(["", "## Growth", "", *growth.table(points), ""])
    (BUILD / "results.json").write_text(results.json())
    (BUILD / "report.md").write_text(text)
    drawing = plot.ratios(results, scenarios, "txbayeux and its peers")
    (BUILD / "ratios.svg").write_text(drawing)
    print(text)
    say(f"{(time.monotonic() - began) / 60:.1f} minutes; see {BUILD.name}/report.md")


main()
