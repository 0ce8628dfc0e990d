"""The targets, report and plot of the benchmarks, from given measurements."""

from benchmarks import plot, report
from benchmarks.peers import PEERS
from benchmarks.scenarios import SCENARIOS
from benchmarks.suite import Measurement
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
    peers = {one.name: one for one in PEERS}
    for target in TARGETS:
        for name in target.scenarios:
            assert peers[target.server].supports(scenarios[name])
            assert peers[target.peer].supports(scenarios[name])


def test_a_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    # The machine was twice as slow in the last round.
    run = results(
        *measured("faye-node", 10.0, 10.0, 20.0), *measured("txbayeux", 2.0, 3.0, 4.0)
    )
    assert run.ratio("ws-100", "txbayeux", "delivery_us") == 0.2


def test_failed_measurements_are_reported_and_not_counted() -> None:
    failed = Measurement("ws-100", "txbayeux", 1, {}, "9 of 10 delivered")
    run = results(
        *measured("faye-node", 10.0, 10.0), *measured("txbayeux", 2.0), failed
    )
    assert run.ratio("ws-100", "txbayeux", "delivery_us") == 0.2
    assert "9 of 10 delivered" in report.markdown(run, [])


def test_a_target_needs_measurements_of_all_its_scenarios() -> None:
    target = Target("Fan-out", ("ws-100", "ws-1000"), 0.2)
    some = [*measured("faye-node", 10.0), *measured("txbayeux", 1.0)]
    assert results(*some).target_ratios(target) is None
    more = [
        *measured("faye-node", 10.0, scenario="ws-1000"),
        *measured("txbayeux", 3.0, scenario="ws-1000"),
    ]
    assert results(*some, *more).target_ratios(target) == [0.1, 0.3]


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
