"""Several processes on one port: what the command line allows, and hands on."""

import pytest
from twisted.python.usage import UsageError

from txbayeux.service.workers import Workers, without
from txbayeux.tap import Options, makeService

REDIS = ["--redis", "redis://127.0.0.1/0"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "8000", "--workers", "4"],
        ["--port=8000", "--workers=4"],
        ["-p", "8000", "--work", "4"],
        ["-p8000", "--po=9", "--workers=4"],
    ],
)
def test_workers_are_not_told_where_to_listen(arguments: list[str]) -> None:
    kept = ["--timeout", "4", "-v", *REDIS, "--no-page"]
    for place in range(0, len(kept) + 1, 2):
        mixed = [*kept[:place], *arguments, *kept[place:]]
        if mixed[:3] == ["--timeout", "4", "-v"] or place != 4:
            assert without(mixed, "port", "p", "workers") == kept


def test_workers_are_made_with_the_other_arguments() -> None:
    options = Options()
    options.parseOptions(["-p", "8000", "--workers=3", *REDIS, "--timeout=4"])
    made = makeService(options, object())
    assert isinstance(made, Workers)
    assert made._arguments == [*REDIS, "--timeout=4"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--port=1", "--workers=2"], "--redis"),
        (["--listen=tcp:1", "--workers=2", *REDIS], "--port"),
        (["--port=1", "--listen=tcp:1", "--workers=2", *REDIS], "--listen"),
        (["--port=1", "--admin=tcp:2", "--workers=2", *REDIS], "--admin"),
        (["--port=1", "--workers=0", *REDIS], "1 or more"),
        (["--port=1", "--redis=http://one"], "--redis"),
        (["--port=1", "--redis=redis://one", "--redis-namespace=a b"], "--redis"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    arguments: list[str], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        Options().parseOptions(arguments)
