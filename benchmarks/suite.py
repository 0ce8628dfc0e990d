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
        self, repeat: int, scenarios: Sequence[Scenario], peers: Sequence[Peer]
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
                if any(peer.supports(one) and peer.shares(one) for one in scenarios):
                    servers[peer.name] = self._started(peer)
            for scenario in scenarios:
                for peer in order:
                    if peer.supports(scenario) and not self._failed(scenario, peer):
                        self._measure(scenario, peer, repeat, servers)
        finally:
            for server in servers.values():
                server.stop()

    def _failed(self, scenario: Scenario, peer: Peer) -> bool:
        """Return whether it failed in an earlier round; it is not tried again."""
        return any(
            one.failure and (one.scenario, one.peer) == (scenario.name, peer.name)
            for one in self.measurements
        )

    def _started(self, peer: Peer) -> Process:
        """Start a server, and put load on it for a while."""
        server = Process(peer)
        for transport in peer.transports:
            options = {
                "transport": transport,
                "clients": 50,
                "warm_up": 0,
                "seconds": peer.warm_up / len(peer.transports),
            }
            try:
                self._load(server, options)
            except Failed as failure:
                progress(f"{peer.name}: warm-up failed: {failure}")
        return server

    def _measure(
        self, scenario: Scenario, peer: Peer, repeat: int, servers: dict[str, Process]
    ) -> None:
        """Measure once, on the running server or, if needed, on one for this only."""
        shared = peer.shares(scenario)
        server = servers[peer.name] if shared else Process(peer, scenario.nodes)
        options = scenario.options(self._seconds) | scenario.ports(server.ports)
        if not shared:
            options["warm_up"] = max(options["warm_up"], peer.warm_up)
        progress(f"{repeat + 1}  {scenario.name:14} {peer.name:20} ", end="")
        try:
            measured = self._load(server, options)
        except Failed as failure:
            progress(f"failed: {failure}")
            self.measurements.append(
                Measurement(scenario.name, peer.name, repeat, {}, str(failure))
            )
        else:
            progress(
                f"{measured[scenario.metric]:9.2f} {scenario.metric:12}"
                f"{measured['deliveries_per_second']:10,.0f}/s"
                f"{measured['p99_ms']:9.1f} ms"
            )
            self.measurements.append(
                Measurement(scenario.name, peer.name, repeat, measured)
            )
        if not shared:
            server.stop()
        elif self.measurements[-1].failure or not server.alive:
            # What is left in it must not affect the next measurement.
            server.stop()
            servers[peer.name] = self._started(peer)

    def _load(self, server: Process, options: dict[str, Any]) -> dict[str, Any]:
        """Return what the generator measured, with the CPU per message by process."""
        options = {"protocol": server.peer.protocol, **options}
        load = start_load(self._program, server.port, server.pids, options)
        measured = collect_metrics(load, _LIMIT)
        names = [f"{name.lower()}_us" for name in server.names]
        return measured | dict(zip(names, measured.pop("processes_us"), strict=True))


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
