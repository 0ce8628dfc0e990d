"""The fast HTTP protocol when a client does not read what it asked for."""

import pytest
from twisted.internet.defer import Deferred

from .support import Service, request
from .test_fast_http import answers

pytestmark = pytest.mark.parametrize("http_way", ["fast"], indirect=True)

POST = request("POST", body=b"[1]")


def test_nothing_more_is_read_from_a_client_that_does_not_read() -> None:
    service = Service()
    transport = service.send(POST)
    transport.clear()
    transport.protocol.pauseProducing()
    assert transport.producerState == "paused"
    transport.protocol.dataReceived(POST * 3)  # was on its way
    assert (transport.take(), len(service.processor.requests)) == (b"", 1)
    transport.protocol.resumeProducing()
    assert transport.producerState == "producing"
    assert len(answers(transport.take())) == 3


def test_reading_is_resumed_while_a_poll_is_held() -> None:
    service = Service()
    service.processor.answers.append(Deferred())
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    transport.protocol.resumeProducing()
    assert transport.producerState == "producing"


def test_requests_in_one_read_wait_until_the_client_reads() -> None:
    service = Service()
    transport = service.connect()
    write = transport.write

    def full(data: bytes) -> None:
        write(data)
        transport.protocol.pauseProducing()

    transport.write = full  # type: ignore[method-assign]
    transport.protocol.dataReceived(POST * 100)
    assert len(service.processor.requests) == 1
    transport.protocol.resumeProducing()
    assert len(service.processor.requests) == 2


def test_a_client_that_never_reads_is_disconnected() -> None:
    service = Service()
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    service.clock.pump([15] * 6)
    assert transport.aborted
    assert transport.producer is None


def test_a_repeated_request_waits_until_the_client_reads() -> None:
    service = Service()
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    transport.protocol.dataReceived(POST)  # was on its way
    assert len(service.processor.requests) == 1
    transport.protocol.resumeProducing()
    assert len(service.processor.requests) == 2


def test_the_idle_time_begins_when_the_client_has_read() -> None:
    service = Service()
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    service.clock.advance(50)
    transport.protocol.resumeProducing()
    service.clock.pump([15] * 3)
    assert not transport.disconnecting
    service.clock.pump([15] * 2)
    assert transport.disconnecting
