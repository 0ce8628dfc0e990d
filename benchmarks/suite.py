"""Run every scenario on every server that supports it, interleaved."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.generator import Failed, collect_metrics, start_load
from benchmarks.machine import Missing
from benchmarks.peers import Peer, Process
from benchmarks.scenarios import Scenario

_LIMIT = 90.0  # seconds that one measurement may take


@dataclass(frozen=True)
class Measurement:
    """The result of one scenario on one server in one round."""

    scenario: str
    peer: str
    repeat: int
    metrics: dict[str, Any]
    failure: str = ""


class Suite:
    """Runs measurements.

    :param seconds: approximate length of each.
    """

    def __init__(self, program: Path, seconds: float) -> None:
        self._program = program
        self._seconds = seconds
        self.measurements: list[Measurement] = []

    def round(
        self, repeat: int, scenarios: Iterable[Scenario], peers: Sequence[Peer]
    ) -> None:
        """Measure each scenario once on each server.

        All servers are started and warmed up first, and each scenario is measured
        on one server right after the other, so that other work on the machine
        affects all of them alike.
        """
        turn = repeat % len(peers)
        order = [*peers[turn:], *peers[:turn]]
        servers: dict[str, Process] = {}
        try:
            for peer in order:
                servers[peer.name] = Process(peer)
                self._warm_up(servers[peer.name])
            for scenario in scenarios:
                for peer in order:
                    if peer.supports(scenario) and not self._failed(scenario, peer):
                        servers[peer.name] = self._measure(
                            scenario, servers[peer.name], repeat
                        )
        finally:
            for server in servers.values():
                server.stop()

    def _failed(self, scenario: Scenario, peer: Peer) -> bool:
        """Return whether it failed in an earlier round; it is not tried again."""
        return any(
            one.failure and (one.scenario, one.peer) == (scenario.name, peer.name)
            for one in self.measurements
        )

    def _warm_up(self, server: Process) -> None:
        for transport in server.peer.transports:
            options = {
                "transport": transport,
                "clients": 50,
                "warm_up": 0,
                "seconds": server.peer.warm_up / len(server.peer.transports),
            }
            try:
                self._load(server, options)
            except Failed as failure:
                progress(f"{server.peer.name}: warm-up failed: {failure}")

    def _measure(self, scenario: Scenario, server: Process, repeat: int) -> Process:
        """Measure, and return the server to use for the next scenario."""
        measured_server = Process(server.peer) if scenario.fresh else server
        peer = server.peer.name
        progress(f"{repeat + 1}  {scenario.name:14} {peer:16} ", end="")
        try:
            measured = self._load(measured_server, scenario.options(self._seconds))
        except Failed as failure:
            progress(f"failed: {failure}")
            self.measurements.append(
                Measurement(scenario.name, peer, repeat, {}, str(failure))
            )
        else:
            progress(
                f"{measured[scenario.metric]:9.2f} {scenario.metric}"
                f"{measured['deliveries_per_second']:10,.0f}/s"
                f"{measured['p99_ms']:9.1f} ms"
            )
            self.measurements.append(Measurement(scenario.name, peer, repeat, measured))
        if measured_server is not server:
            measured_server.stop()
        elif self.measurements[-1].failure or not server.alive:
            # What is left in it must not affect the next measurement.
            server.stop()
            server = Process(server.peer)
            self._warm_up(server)
        return server

    def _load(self, server: Process, options: dict[str, Any]) -> dict[str, Any]:
        load = start_load(self._program, server.port, server.pids, options)
        return collect_metrics(load, _LIMIT)


def available(peers: Iterable[Peer]) -> tuple[list[Peer], dict[str, str], list[str]]:
    """Prepare each; return those that work, their versions, and notes on the others."""
    ready: list[Peer] = []
    versions: dict[str, str] = {}
    notes: list[str] = []
    for peer in peers:
        try:
            versions[peer.title] = peer.prepare()
            ready.append(peer)
        except Missing as missing:
            notes.append(f"{peer.title} is left out: {missing}")
            progress(notes[-1])
    return ready, versions, notes


def progress(text: str, end: str = "\n") -> None:
    """Print progress to standard error."""
    print(text, end=end, flush=True, file=sys.stderr)
