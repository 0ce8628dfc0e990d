"""Extensions made of one function, for tests."""

from collections.abc import Callable
from typing import Any

from txbayeux.extension import Extension
from txbayeux.message import Message

Step = Callable[[Message, Any], Any]


def incoming(step: Step, *channels: str) -> Extension:
    return _extension("incoming", step, channels)


def outgoing(step: Step, *channels: str) -> Extension:
    return _extension("outgoing", step, channels)


def put(field: str, value: object) -> Step:
    return lambda message, _: {**message, field: value}


def _extension(direction: str, step: Step, channels: tuple[str, ...]) -> Extension:
    fields: dict[str, Any] = {direction: staticmethod(step)}
    if channels:
        fields["channels"] = channels
    return type("FromFunction", (Extension,), fields)()
