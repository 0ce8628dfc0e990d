"""What a stream of bytes does over each of the two ways to read HTTP."""

import random
from typing import Any

from twisted.internet.defer import Deferred, succeed

from txbayeux.limits import Limits
from txbayeux.processor import Response

from .support import HTTP_WAY, Answer, Service, settle

LIMITS = Limits(request_bytes=500, batch_messages=5)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    if chance.random() < 0.5:
        return [data]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    return [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def outcome(stream: list[bytes], waits: list[bool], *, fast: bool) -> dict[str, Any]:
    """Return all that happens when these bytes come; some answers come late."""
    HTTP_WAY.fast = fast
    service = Service(limits=LIMITS)
    waiting: list[Deferred[Response]] = []
    for wait in waits:
        if wait:
            waiting.append(Deferred())
            service.processor.answers.append(waiting[-1])
        else:
            service.processor.answers.append(succeed(Response([{"at": "once"}])))
    transport = service.connect()
    for piece in stream:
        if transport.disconnecting:
            break  # whether more is read makes no difference
        transport.protocol.dataReceived(piece)
        settle(service.clock)
    for one in waiting:
        one.callback(Response([{"at": "last"}]))
        settle(service.clock)
    written = transport.take()
    return {
        "continued": written.count(CONTINUE),
        "written": [
            (one.code, one.body, without(one.headers)) for one in parsed(written)
        ],
        "requests": [
            (messages, source.transport, source.peer, dict(source.headers))
            for messages, source, _ in service.processor.requests
            if source is not None
        ],
        "closing": transport.disconnecting,
    }


def parsed(data: bytes) -> list[Answer]:
    found = []
    data = data.replace(CONTINUE, b"")
    while data:
        answer = Answer(data)
        if "content-length" not in answer.headers:
            cut = answer.body.find(b"HTTP/1.")
            cut = len(answer.body) if cut < 0 else cut
            answer.body, answer.rest = answer.body[:cut], answer.body[cut:]
        found.append(answer)
        data = answer.rest
    return found


def without(headers: dict[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in headers.items() if name not in ("server", "date")
    }
