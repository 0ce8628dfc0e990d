"""Fuzz the targets one after the other, guided by coverage, up to the first finding.

With --replay, pass one input to one target instead.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.targets import NAMES, load

FOLDER: Final = Path("build") / "fuzz"
"""Gets inputs that were not accepted, and, for the next run, those that are of use."""


def fuzz(names: list[str], minutes: float) -> int:
    """Fuzz these targets in this time; return an exit code."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    seconds = max(1, round(minutes * 60 / len(names)))
    for name in names:
        print(f"{name}: {seconds} s", flush=True)
        before = set(FOLDER.glob(f"{name}-*"))
        command = ("-m", "tests.fuzz.guided", name, str(seconds), str(FOLDER))
        code = subprocess.run([sys.executable, *command], check=False).returncode
        for path in set(FOLDER.glob(f"{name}-*")) - before:
            print(f"Not accepted: {path}.  To replay it:")
            print(f"{sys.executable} -m tests.fuzz {name} --replay {path}")
        if code:
            return code
    return 0


def main() -> int:
    """Read the command line; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--minutes", type=float, default=30, help="for all together")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    options = parser.parse_args()
    names = options.names or list(NAMES)
    for name in names:
        if name not in NAMES:
            parser.error(f"no target: {name}")
    if options.replay is None:
        return fuzz(names, options.minutes)
    for name in names:
        load(name).fuzz_one(options.replay.read_bytes())
    print("Accepted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
