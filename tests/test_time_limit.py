"""A test that hangs ends the run, and the output says which one, and where."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

BEGINNING = """
    import signal, threading, pytest_twisted
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


@pytest.mark.parametrize("waits_for", HANGING)
def test_a_test_that_hangs_ends_the_run(tmp_path: Path, waits_for: str) -> None:
    file = tmp_path / "test_file.py"
    file.write_text(dedent(BEGINNING) + dedent(HANGING[waits_for]))
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.time_limit"),
            *("--rootdir", str(tmp_path), "-c", os.devnull, str(file)),
        ],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "test_file.py::test_hangs did not end within 600 s" in ended.stdout
    assert "It was about to hang." in ended.stdout
    assert "in test_hangs" in ended.stdout
    assert "what failed before" in ended.stdout
