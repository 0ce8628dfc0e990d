"""Compile and run the load generator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.machine import BUILD, HERE, LOAD_CORE, find_command, output_of, pin

_runs = count()


class Failed(Exception):
    """A measurement failed; the text says why."""


def compile_generator() -> Path:
    """Compile load/*.c and return the path of the program."""
    program = BUILD / "load"
    BUILD.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path) for path in (HERE / "load").glob("*.c"))
    output_of(find_command("cc", "gcc", "clang"), "-O2", "-o", str(program), *sources)
    return program


def start_load(
    program: Path, port: str, pids: Sequence[int], options: dict[str, Any]
) -> subprocess.Popen[str]:
    """Start the generator.

    :param options: its command-line options; True for one without a value.
    """
    command = [str(program), f"--port={port}", f"--prefix=load{next(_runs)}"]
    if pids:
        command.append(f"--pids={','.join(map(str, pids))}")
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        command.append(option if value is True else f"{option}={value}")
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # --hold waits for it; collect_metrics closes it
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(pin, LOAD_CORE),  # noqa: PLW1509 (no threads here)
    )


def await_sessions(load: subprocess.Popen[str]) -> None:
    """Wait until all sessions of a load with ``hold`` are connected."""
    assert load.stdout is not None
    load.stdout.readline()


def collect_metrics(load: subprocess.Popen[str], limit: float) -> dict[str, Any]:
    """Wait for the generator to end and return what it measured.

    :raises Failed: if it took too long, or lost or duplicated a message.
    """
    try:
        output, errors = load.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        load.kill()
        load.communicate()
        raise Failed(f"took longer than {limit:.0f} s") from None
    if not output:
        raise Failed(errors.strip()[-300:] or f"exit status {load.returncode}")
    measured: dict[str, Any] = json.loads(output)
    if not measured["ok"]:
        raise Failed(
            f"{measured['delivered']} of {measured['expected']} delivered,"
            f" {measured['refused']} refused, {measured['dead']} connections lost"
        )
    return measured
