"""The targets, report and plot of the benchmarks, from given measurements."""

from pathlib import Path

import pytest

from benchmarks import peers, plot, report, scaling
from benchmarks.machine import Missing
from benchmarks.peers import PEERS
from benchmarks.scenarios import PROCESSES, SCENARIOS
from benchmarks.suite import Measurement, available
from benchmarks.targets import TARGETS, Target

ABOUT = {"machine": "A machine", "versions": {}, "repeats": 2, "seconds": 1.0}


def measured(peer: str, *costs: float, scenario: str = "ws-100") -> list[Measurement]:
    return [
        Measurement(
            scenario,
            peer,
            repeat,
            {
                "delivery_us": cost,
                "deliveries_per_second": 1e6 / cost,
                "p50_ms": 1.0,
                "p99_ms": 2.0,
            },
        )
        for repeat, cost in enumerate(costs)
    ]


def results(*measurements: Measurement) -> report.Results:
    return report.Results(ABOUT, SCENARIOS, measurements)


def test_every_target_can_be_measured() -> None:
    scenarios = {one.name: one for one in SCENARIOS}
    servers = {one.name: one for one in PEERS}
    for target in TARGETS:
        for name in target.scenarios:
            assert servers[target.server].supports(scenarios[name])
            if target.peer:
                compared = scenarios[target.base or name]
                assert servers[target.peer].supports(compared)


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    # The machine was twice as slow in the last round.
    run = results(
        *measured("faye-node", 10.0, 10.0, 20.0), *measured("txbayeux", 2.0, 3.0, 4.0)
    )
    assert run.ratio("ws-100", "txbayeux", "delivery_us", "faye-node") == 0.2


def test_failed_measurements_are_reported_and_not_counted() -> None:
    failed = Measurement("ws-100", "txbayeux", 1, {}, "9 of 10 delivered")
    run = results(
        *measured("faye-node", 10.0, 10.0), *measured("txbayeux", 2.0), failed
    )
    assert run.ratio("ws-100", "txbayeux", "delivery_us", "faye-node") == 0.2
    assert "9 of 10 delivered" in report.markdown(run, [])


def test_a_target_needs_measurements_of_all_its_scenarios() -> None:
    target = Target("Fan-out", ("ws-100", "ws-1000"), 0.2)
    some = [*measured("faye-node", 10.0), *measured("txbayeux", 1.0)]
    assert results(*some).target_values(target) is None
    more = [
        *measured("faye-node", 10.0, scenario="ws-1000"),
        *measured("txbayeux", 3.0, scenario="ws-1000"),
    ]
    assert results(*some, *more).target_values(target) == [0.1, 0.3]


def test_the_report_says_which_targets_are_met() -> None:
    run = results(
        *measured("faye-node", 10.0, scenario="ws-10"),
        *measured("txbayeux", 4.0, scenario="ws-10"),
    )
    text = report.markdown(run, ["Faye for Ruby is left out"])
    assert (
        "| WebSocket fan-out, 10 | Faye for Node | 0.50 | 0.40 | yes |"
        in text.splitlines()
    )
    assert "- Faye for Ruby is left out" in text


def test_the_plot_has_a_bar_for_each_server() -> None:
    scenario = next(one for one in SCENARIOS if one.name == "ws-100")
    peers = [peer for peer in PEERS if peer.supports(scenario)]
    costs = {"faye-node": 10.0}
    run = results(
        *(one for peer in peers for one in measured(peer.name, costs.get(peer.name, 1)))
    )
    drawing = plot.ratios(run, SCENARIOS, "Servers & their cost")
    for peer in peers:
        ratio = "1.00" if peer.name in costs else "0.10"
        assert f"{ratio}  {peer.title}" in drawing
    assert "Servers &amp; their cost" in drawing


def between_nodes(peer: str, scenario: str, *parts: float) -> Measurement:
    """Return a measurement with the CPU per message of Redis, A, B, ..."""
    names = [f"{name.lower()}_us" for name in PROCESSES]
    metrics = {"publish_us": sum(parts), "p50_ms": 1.0, "p99_ms": 2.0}
    metrics |= dict(zip(names, parts, strict=False))
    return Measurement(scenario, peer, 0, metrics)


def test_a_target_without_another_server_is_for_the_metric_itself() -> None:
    target = Target("Idle", ("idle-node-20",), 1.0, "txbayeux-redis", "", "c_us")
    run = results(between_nodes("txbayeux-redis", "idle-node-20", 8, 20, 30, 5))
    assert run.target_values(target) == [5]


def test_a_target_may_compare_a_server_with_itself_in_another_scenario() -> None:
    target = Target(
        "Growth", ("nodes-8",), 1.1, "txbayeux", "txbayeux", "publish_us", "nodes-2"
    )
    run = results(
        between_nodes("txbayeux", "nodes-2", 10, 20, 20),
        between_nodes("txbayeux", "nodes-8", 20, 80),
    )
    assert run.target_values(target) == [2.0]


def test_the_report_has_a_column_for_each_process() -> None:
    run = results(between_nodes("txbayeux-redis", "idle-node-20", 8, 20, 30, 5))
    lines = report.markdown(run, []).splitlines()
    row = "| txbayeux on Redis | 63.00 | 8.00 | 20.00 | 30.00 | 5.00 | 1.0 | 2.0 |  |"
    assert row in lines
    heads = "of Redis | of A | of B | of C |"
    assert heads in lines[lines.index(row) - 2]


def test_the_plots_show_targets_and_processes() -> None:
    run = results(
        between_nodes("txbayeux-redis", "one-to-one-rate", 100, 200, 200),
        between_nodes("centrifugo-redis", "one-to-one-rate", 50, 100, 100),
    )
    assert "2.00 of 1.20  one-to-one-rate" in plot.targets(run)
    drawing = plot.processes(run, SCENARIOS)
    assert "500.0  txbayeux on Redis" in drawing
    assert drawing.count('height="13"') == 6


def test_the_options_of_a_scenario_say_who_connects_to_which_node() -> None:
    scenarios = {one.name: one for one in SCENARIOS}
    assert scenarios["idle-node-20"].ports([1, 2, 3]) == {
        "publisher_port": "1",
        "subscriber_port": "2",
    }
    assert scenarios["nodes-4"].ports([1, 2, 3, 4]) == {
        "publisher_port": "1,2,3,4",
        "subscriber_port": "2,3,4,1",
    }
    assert scenarios["ws-10"].ports([1, 2]) == {}


@pytest.mark.parametrize("nodes", [2, 4, 8])
def test_each_message_is_for_the_node_after_its_publisher(nodes: int) -> None:
    scenario = next(one for one in SCENARIOS if one.name == f"nodes-{nodes}")
    publishers, channels = scenario.load["publishers"], scenario.load["channels"]
    assert channels % publishers == 0
    for channel in range(channels):
        publisher = channel % publishers
        publishes_on = scenario.publish_on[publisher % nodes]
        subscribes_on = scenario.subscribe_on[channel % nodes]
        assert subscribes_on == (publishes_on + 1) % nodes


def test_scenarios_of_several_nodes_are_for_services_on_redis() -> None:
    scenario = next(one for one in SCENARIOS if one.nodes == 3)
    able = {peer.name for peer in PEERS if peer.supports(scenario)}
    assert able == {"txbayeux-redis", "centrifugo-redis", "socketio-redis"}
    assert not any(peer.shares(scenario) for peer in PEERS)


@pytest.mark.parametrize("tool", ["go", "node"])
def test_servers_whose_tools_are_missing_are_left_out_with_a_note(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_command(*names: str) -> str:
        if tool in names:
            raise Missing(f"{tool} is not installed")
        return names[0]

    monkeypatch.setattr(peers, "find_command", find_command)
    monkeypatch.setattr(peers, "_CENTRIFUGO", tmp_path / "centrifugo")
    name = {"go": "centrifugo", "node": "socketio-redis"}[tool]
    peer = next(one for one in PEERS if one.name == name)
    ready, versions, notes = available([peer])
    assert (ready, versions) == ([], {})
    assert notes == [f"{peer.title} is left out: {tool} is not installed"]


def test_the_page_on_scaling_shows_what_follows_from_the_figures() -> None:
    figures, limits = scaling.Figures(), scaling.Limits()
    page = scaling.PAGE.read_text()
    assert page.count("<!-- end -->") == 3
    assert page == scaling.updated(page, figures, limits)
    assert scaling.PLOT.read_text() == scaling.plot(figures, limits)


def test_what_one_redis_carries_is_within_its_limits() -> None:
    figures, limits = scaling.Figures(), scaling.Limits()
    for traffic in scaling.TRAFFIC:
        sessions = scaling.capacity(traffic, figures, limits)
        for number, fits in ((sessions, True), (sessions * 11 // 10, False)):
            need = scaling.needs(traffic, number, figures, limits)
            assert (max(need.relative(limits).values()) <= 1) is fits
            assert need.node_busy <= limits.busy
            assert need.nodes * limits.node_sessions >= number
