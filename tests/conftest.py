"""Settings for all tests.

If TXBAYEUX_REQUIRE_TOOLS is set, as in CI, tests that need other programs or processes
fail instead of being skipped.
"""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings
from twisted.logger import globalLogBeginner

from tests.time_limit import (
    pytest_enter_pdb,
    pytest_runtest_protocol,
    pytest_unconfigure,
)

__all__ = ["pytest_enter_pdb", "pytest_runtest_protocol", "pytest_unconfigure"]

# A slow machine must not fail a test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

pytest.register_assert_rewrite("txbayeux.testing")

OUTSIDE = {"interop", "chaos", "packaging"}
REQUIRED = bool(os.environ.get("TXBAYEUX_REQUIRE_TOOLS"))


def pytest_configure() -> None:
    # Shells start background processes with SIGINT ignored, and their children inherit
    # that: a program under test would not end.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Until logging begins, Twisted keeps the last 65,536 events, and with them failed
    # Deferreds of tests that have ended: each is logged when it falls out, in a test
    # that has nothing to do with it.
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


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
