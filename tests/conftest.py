"""Where TXBAYEUX_REQUIRE_TOOLS is set, as in CI, a skip for want of a tool fails."""

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# A slow machine is no fault of what is tested.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

pytest.register_assert_rewrite("txbayeux.testing")

OUTSIDE = {"interop", "chaos", "packaging"}
REQUIRED = bool(os.environ.get("TXBAYEUX_REQUIRE_TOOLS"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    outside = any(mark.name in OUTSIDE for mark in item.iter_markers())
    if REQUIRED and outside and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped although every tool is required: {report.longreprtext}"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    report = yield
    if REQUIRED and report.skipped:
        report.outcome = "failed"
        report.longrepr = (
            f"skipped although every tool is required: {report.longreprtext}"
        )
    return report
