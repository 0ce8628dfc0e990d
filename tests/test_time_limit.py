"""A test that hangs ends the run, and the output says which one, and where."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

BEGINNING = """
    import os, signal, threading, time, pytest_twisted
    from twisted.internet.defer import Deferred

    def time_is_over_soon():
        signal.setitimer(signal.ITIMER_REAL, 0.1)

    def test_fails():
        assert not "what failed before"
    """
HANGING = {
    "a_thread": """
        def test_hangs():
            print("It was about to hang.")
            time_is_over_soon()
            threading.Event().wait()
        """,
    "the_reactor": """
        @pytest_twisted.ensureDeferred
        async def test_hangs():
            print("It was about to hang.")
            time_is_over_soon()
            await Deferred()
        """,
}
LEAVES_A_THREAD = """
    def hang():
        while not 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGALRM)
        threading.Event().wait()

    def test_passes():
        threading.Thread(target=hang).start()
    """


def run(folder: Path, *parts: str) -> str:
    """Run tests that fail; return what pytest printed."""
    file = folder / "test_file.py"
    file.write_text("".join(map(dedent, parts)))
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.time_limit"),
            *("--rootdir", str(folder), "-c", os.devnull, str(file)),
        ],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "what failed before" in ended.stdout
    return ended.stdout


@pytest.mark.parametrize("waits_for", HANGING)
def test_a_test_that_hangs_ends_the_run(tmp_path: Path, waits_for: str) -> None:
    printed = run(tmp_path, BEGINNING, HANGING[waits_for])
    assert "test_file.py::test_hangs did not end within 600 s" in printed
    assert "It was about to hang." in printed
    assert "in test_hangs" in printed


def test_a_thread_that_is_left_does_not_keep_pytest(tmp_path: Path) -> None:
    printed = run(tmp_path, BEGINNING, LEAVES_A_THREAD)
    assert "1 failed, 1 passed" in printed
    assert "pytest did not exit within 60 s" in printed
    assert "in hang" in printed
