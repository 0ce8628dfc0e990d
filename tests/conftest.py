"""Where TXBAYEUX_REQUIRE_TOOLS is set, as in CI, a skip for want of a tool fails."""

import os
from collections.abc import Generator

import pytest

pytest.register_assert_rewrite("txbayeux.testing")

OUTSIDE = {"interop", "chaos", "packaging"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (
        os.environ.get("TXBAYEUX_REQUIRE_TOOLS")
        and report.skipped
        and not hasattr(report, "wasxfail")
        and any(mark.name in OUTSIDE for mark in item.iter_markers())
    ):
        report.outcome = "failed"
        report.longrepr = (
            f"skipped although every tool is required: {report.longreprtext}"
        )
    return report
