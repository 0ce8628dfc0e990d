"""The machine: its cores, its description and the commands installed on it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "bench"

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORE = _cores[0]
LOAD_CORE = _cores[-1]


class Missing(Exception):
    """A required program is not installed or fails; the text says which."""


def find_command(*names: str) -> str:
    """Return the path of the first of these commands that is installed."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise Missing(f"{' or '.join(names)} is not installed")


def output_of(*command: str, cwd: Path = ROOT) -> str:
    """Run a command and return its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Missing(f"{' '.join(command[:3])} failed:\n{done.stdout[-2000:]}")
    return done.stdout.strip()


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def allow_many_files() -> None:
    """Raise the limit of open files of this process and its children."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(core: int) -> None:
    """Pin the calling process and its children to one core."""
    os.sched_setaffinity(0, {core})


def description() -> str:
    """Describe the machine in one line."""
    cpu = platform.processor() or "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    shared = "" if SERVER_CORE != LOAD_CORE else "; one core for servers and load"
    return (
        f"{cpu}, {len(_cores)} cores, {pages / 2**30:.0f} GiB; Linux"
        f" {platform.release()}; Python {platform.python_version()}{shared}"
    )


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]
