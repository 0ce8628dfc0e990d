"""Each target accepts its corpus, and mutations of it, the same at each run.

``make fuzz`` finds more, guided by coverage.
"""

import random
from pathlib import Path

import pytest

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import CORPUS, NAMES, corpus, load

MUTATIONS = {
    "messages": 60,
    "http": 30,
    "websocket": 40,
    "redis_replies": 100,
    "log_entries": 1000,
}
"""For each seed: each target takes about 6 s in all."""

FILES = [path for name in NAMES for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_the_corpus_is_accepted(path: Path) -> None:
    load(path.parent.name).fuzz_one(path.read_bytes())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", NAMES)
def test_mutations_are_accepted(name: str, seed: int) -> None:
    target, inputs, chance = load(name), corpus(name), random.Random(seed)
    for _ in range(MUTATIONS[name]):
        data = mutate(chance.choice(inputs), target, chance, inputs)
        try:
            target.fuzz_one(data)
        except Exception as error:
            error.add_note(f"The input of {name} was {data!r}")
            raise


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_small(name: str) -> None:
    sizes = [len(data) for data in corpus(name)]
    assert 0 < len(sizes) <= 30
    assert max(sizes) <= 2048
