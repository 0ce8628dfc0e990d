"""Programs that run clients of Faye and CometD, driven by lines of JSON."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final

DEADLINE: Final = 120.0
"""Seconds after which an operation counts as failed."""

Event = dict[str, Any]


class ClientProgramError(AssertionError):
    """A program ended, a command failed, or a deadline has passed."""


class ClientProgram:
    """One such program; see node/clients/host.js for the commands."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        """:param command: the program; its working directory is ``directory``."""
        self.events: list[Event] = []
        self._transcript: deque[str] = deque(maxlen=400)
        self._answers: dict[int, Event] = {}
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._ready = False
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self._stdin = _open(self._process.stdin)
        self._pipes = (_open(self._process.stdout), _open(self._process.stderr))
        self._threads = [
            threading.Thread(target=self._read, args=(pipe, take), daemon=True)
            for pipe, take in zip(self._pipes, (self._take, self._note), strict=True)
        ]
        for thread in self._threads:
            thread.start()
        self.wait(lambda: self._ready, "its ready line")

    @property
    def alive(self) -> bool:
        """Whether the program is running."""
        return self._process.poll() is None

    def ask(self, operation: str, **fields: Any) -> Any:
        """Execute a command and return its result."""
        number = next(self._ids)
        line = json.dumps({"id": number, "do": operation, **fields})
        self._record(f"> {line}")
        try:
            self._stdin.write(line + "\n")
            self._stdin.flush()
        except BrokenPipeError:
            raise ClientProgramError(
                f"The program ended before: {line[:200]}"
            ) from None
        self.wait(lambda: number in self._answers, f"the result of {line[:200]}")
        answer = self._answers.pop(number)
        if "failed" in answer:
            raise ClientProgramError(f"{line[:200]} failed: {answer['failed']}")
        return answer["result"]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until output of the program makes ``condition`` true."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or not self.alive, DEADLINE)
            if not condition():
                state = "it did not happen" if self.alive else "the program ended"
                raise ClientProgramError(f"Waited for {what}: {state}")

    def transcript(self) -> str:
        """Return the last lines in both directions."""
        with self._changed:
            return "\n".join(self._transcript)

    def close(self) -> None:
        """Close its input, at which the program ends; kill it if it does not."""
        self._stdin.close()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in self._pipes:
            pipe.close()

    def _read(self, pipe: IO[str], take: Callable[[str], None]) -> None:
        for line in pipe:
            take(line.rstrip("\n"))
        with self._changed:
            self._changed.notify_all()

    def _take(self, line: str) -> None:
        message = json.loads(line)
        self._record(f"< {line}")
        with self._changed:
            if "event" in message:
                self.events.append(message)
            elif "id" in message:
                self._answers[message["id"]] = message
            else:
                self._ready = True
            self._changed.notify_all()

    def _note(self, line: str) -> None:
        self._record(f"! {line}")

    def _record(self, line: str) -> None:
        with self._changed:
            self._transcript.append(line[:400])


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
