"""Tools of other ecosystems: found or skipped for; packages installed once."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
NODE: Final = HERE / "node"
JAVA: Final = HERE / "java"


def tool(*names: str) -> str:
    """Return the path of the first of these commands that exists."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip(f"needs {' or '.join(names)} on the PATH")


def versioned(name: str, least: int) -> str:
    """Return the path of a command of version ``least`` or later."""
    found = tool(name)
    option = "--version" if name == "node" else "-version"
    printed = _run([found, option], HERE)
    version = re.search(r"\d+", printed)
    if version is None or int(version[0]) < least:
        pytest.skip(f"needs {name} {least} or later, not {printed.splitlines()[0]}")
    return found


def node_programs() -> Path:
    """Return the directory node/ with its dependencies installed."""
    versioned("node", 18)
    npm = tool("npm")
    inputs = [NODE / "package.json", NODE / "package-lock.json"]
    _once(
        NODE / "node_modules" / ".interop",
        inputs,
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
    )
    return NODE


def java_programs() -> list[str]:
    """Compile java/; return the command to which the name of a class is appended."""
    java = versioned("java", 17)
    tool("javac")
    maven = tool("mvn")
    inputs = [JAVA / "pom.xml", *sorted(JAVA.glob("src/**/*.java"))]
    _once(
        JAVA / "target" / ".interop",
        inputs,
        [maven, "--quiet", "--batch-mode", "clean", "compile"],
    )
    return [java, "-cp", f"{JAVA / 'target' / 'classes'}:{JAVA / 'target' / 'lib'}/*"]


def _once(stamp: Path, inputs: Iterable[Path], command: Sequence[str]) -> None:
    """Run a command, unless it was run since its inputs changed."""
    contents = b"\0".join(path.read_bytes() for path in inputs)
    digest = hashlib.sha256(contents).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        _run(command, stamp.parent.parent)
        stamp.write_text(digest)


def _run(command: Sequence[str], directory: Path) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout
