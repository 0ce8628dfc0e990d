"""One target under atheris: python -m tests.fuzz.guided TARGET SECONDS FOLDER

Stops with another exit code than 0 at the first input that the target does not accept,
and writes that into the folder.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris
from twisted.logger import globalLogBeginner

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import CORPUS, MAX_INPUT, corpus, load

__all__ = ["run"]

INSTRUMENTED = ["txbayeux", "autobahn.websocket.protocol", "twisted.web.http"]
LONGEST = 20
"""Seconds that one input may take."""


def run(name: str, seconds: int, folder: Path) -> None:
    """Run a target for so long; does not return."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = load(name)
    # Until logging begins, Twisted prints what is critical.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    seeds = corpus(name)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.3:
            changed: bytes = atheris.Mutate(data, max_size)
            return changed
        return mutate(data, target, chance, seeds)[:max_size]

    found = folder / "corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/{name}-",
        f"-max_len={MAX_INPUT}",
        f"-timeout={LONGEST}",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    arguments = [name, *options, str(found), str(CORPUS / name)]
    atheris.Setup(arguments, target.fuzz_one, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
