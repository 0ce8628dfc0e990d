"""A plug-in of pytest that ends the run if a test hangs, and shows where it does.

pytest cannot fail a test that waits for the reactor, and CI would end without a reason.
"""

import faulthandler
import gc
import inspect
import os
import signal
import sys
import traceback
from collections.abc import Generator
from typing import Final

import pytest

SECONDS: Final = 600
"""How long a test may take, with its fixtures: many times what any needs."""

SECONDS_TO_EXIT: Final = 60
"""How long pytest may take to exit after the last test."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    signal.signal(signal.SIGALRM, lambda *_: _end_run(item))
    signal.alarm(SECONDS)
    try:
        return (yield)
    finally:
        signal.alarm(0)


def pytest_enter_pdb() -> None:
    signal.alarm(0)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    # A thread that a failed test left behind may wait for a process that does not end.
    signal.signal(signal.SIGALRM, lambda *_: _exit())
    signal.alarm(SECONDS_TO_EXIT)


def _end_run(item: pytest.Item) -> None:
    """Print what is known, also of the tests that failed before, and exit."""
    capture = item.config.pluginmanager.getplugin("capturemanager")
    reporter = item.config.pluginmanager.getplugin("terminalreporter")
    capture.suspend()
    captured = "".join(capture.read_global_capture())
    reporter.ensure_newline()
    reporter.section(f"{item.nodeid} did not end within {SECONDS} s")
    print(captured)
    print("Coroutines that wait:")
    for one in gc.get_objects():
        if inspect.iscoroutine(one) and one.cr_frame is not None:
            traceback.print_stack(one.cr_frame, file=sys.stdout)
    _print_threads()
    reporter.summary_failures()
    reporter.short_test_summary()
    sys.stdout.flush()
    os._exit(1)


def _exit() -> None:
    print(f"pytest did not exit within {SECONDS_TO_EXIT} s")
    _print_threads()
    os._exit(1)


def _print_threads() -> None:
    print("Threads:", flush=True)
    faulthandler.dump_traceback(sys.stdout)
