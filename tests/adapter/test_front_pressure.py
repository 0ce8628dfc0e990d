"""The fast door before a client that asks and does not read."""

import pytest
from twisted.internet.defer import Deferred

from .support import Service, request
from .test_front import answers

pytestmark = pytest.mark.parametrize("door", ["front"], indirect=True)

POST = request("POST", body=b"[1]")


def test_who_does_not_read_is_asked_for_nothing_more() -> None:
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


def test_who_reads_again_while_a_poll_is_held_is_heard_leaving() -> None:
    service = Service()
    service.processor.answers.append(Deferred())
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    transport.protocol.resumeProducing()
    assert transport.producerState == "producing"


def test_answers_that_nobody_reads_end_what_comes_with_them() -> None:
    service = Service()
    transport = service.wire()
    write = transport.write

    def full(data: bytes) -> None:
        write(data)
        transport.protocol.pauseProducing()

    transport.write = full  # type: ignore[method-assign]
    transport.protocol.dataReceived(POST * 100)
    assert len(service.processor.requests) == 1
    transport.protocol.resumeProducing()
    assert len(service.processor.requests) == 2


def test_who_never_reads_is_cut_off() -> None:
    service = Service()
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    service.clock.pump([15] * 6)
    assert transport.aborted
    assert transport.producer is None


def test_nor_is_the_one_request_that_is_just_like_the_last() -> None:
    service = Service()
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    transport.protocol.dataReceived(POST)  # was on its way
    assert len(service.processor.requests) == 1
    transport.protocol.resumeProducing()
    assert len(service.processor.requests) == 2


def test_who_reads_at_last_has_its_idle_time_again() -> None:
    service = Service()
    transport = service.send(POST)
    transport.protocol.pauseProducing()
    service.clock.advance(50)
    transport.protocol.resumeProducing()
    service.clock.pump([15] * 3)
    assert not transport.disconnecting
    service.clock.pump([15] * 2)
    assert transport.disconnecting
