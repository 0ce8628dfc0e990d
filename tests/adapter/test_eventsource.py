"""EventSource: streams of a session over HTTP."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux.adapter import io
from txbayeux.adapter.origins import Origins
from txbayeux.errors import UnknownSession, unavailable
from txbayeux.events import Reason
from txbayeux.message import Entry

from .support import Answer, Service, Transport, entry, request


def open_stream(service: Service, session: str = "s1", **headers: str) -> Transport:
    return service.send(
        request(path=f"/bayeux/{session}", accept="text/event-stream", **headers)
    )


def chunks(data: bytes) -> bytes:
    """Undo the chunked encoding, as far as it has come."""
    text = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        text += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return text


def test_a_stream_begins_with_the_retry_time() -> None:
    service = Service()
    answer = Answer(open_stream(service).value())
    assert answer.code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache, no-store, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert chunks(answer.body) == b"retry: 2000\r\n\r\n"
    assert list(service.processor.attached) == ["s1"]
    assert service.processor.attached["s1"].preempted_by_poll is False


def test_each_event_is_a_json_list() -> None:
    service = Service()
    transport = open_stream(service)
    transport.clear()
    stream = service.processor.attached["s1"]
    stream.send([entry(1)])
    stream.send([entry(2), entry(3)])
    assert chunks(transport.value()) == (
        b'data: [{"channel": "/a", "data": 1}]\r\n\r\n'
        b'data: [{"channel": "/a", "data": 2},{"channel": "/a", "data": 3}]\r\n\r\n'
    )


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_line_end_in_a_message_does_not_end_the_event(end: bytes) -> None:
    service = Service()
    transport = open_stream(service)
    transport.clear()
    text = b'{"data":%s1}' % end
    service.processor.attached["s1"].send([Entry(1, "/a", text)])
    assert chunks(transport.value()) == b'data: [{"data":\r\ndata: 1}]\r\n\r\n'


def test_equal_messages_are_written_alike() -> None:
    service = Service()
    one, two = open_stream(service, "s1"), open_stream(service, "s2")
    for transport in (one, two):
        transport.clear()
    entries = [entry(1), entry(2)]
    for session, stream in service.processor.attached.items():
        stream.send(list(entries) if session == "s1" else entries)
    assert one.value() == two.value()


def test_messages_may_come_before_the_session_is_confirmed() -> None:
    service = Service()
    service.processor.attaching = Deferred()
    transport = open_stream(service)
    assert transport.value() == b""
    service.processor.streams[0].send([entry(1)])
    service.processor.attaching.callback(None)
    body = Answer(transport.value()).body
    assert chunks(body).startswith(b"retry: 2000\r\n\r\ndata: [")
    assert body.count(b"retry") == 1


@pytest.mark.parametrize(
    "path", ["unknown", "", "a/b", "%00", "s1%0d%0aX:1", "x" * 129, "%C3%BC"]
)
def test_an_unknown_session_is_not_found(path: str) -> None:
    # A browser's EventSource gives up for good on anything but a 200, upon which
    # Faye's client takes its next transport and is told to handshake anew.
    service = Service()
    transport = open_stream(service, path)
    answer = Answer(transport.value())
    assert answer.code == 404
    assert service.processor.attached == {}
    transport.clear()
    transport.protocol.dataReceived(request("POST", body=b"[1]"))
    assert Answer(transport.value()).code == 200


def test_a_session_that_turns_out_to_be_unknown_later() -> None:
    service = Service()
    service.processor.attaching = Deferred()
    transport = open_stream(service)
    service.processor.attaching.errback(UnknownSession("s1"))
    assert Answer(transport.value()).code == 404


def test_a_stream_ends_while_storage_is_unreachable() -> None:
    service = Service()
    service.processor.attaching = Deferred()
    transport = open_stream(service)
    service.processor.attaching.errback(unavailable())
    answer = Answer(transport.value())
    assert answer.code == 200
    assert chunks(answer.body) == b"retry: 2000\r\n\r\n"
    assert answer.body.endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_is_detached_once() -> None:
    service = Service()
    transport = open_stream(service)
    stream = service.processor.attached["s1"]
    transport.lose()
    assert service.processor.detached == [stream]
    assert not stream.writable
    service.resource.close()
    stream.close(Reason.TIMEOUT)
    assert service.processor.detached == [stream]


def test_a_client_that_leaves_before_it_is_confirmed() -> None:
    service = Service()
    service.processor.attaching = Deferred()
    open_stream(service).lose()
    service.processor.attaching.callback(None)
    assert len(service.processor.detached) == 1
    service.processor.attaching = Deferred()
    open_stream(service).lose()
    service.processor.attaching.errback(UnknownSession("s1"))
    assert len(service.processor.detached) == 2


def test_a_client_that_closes_its_end_is_sent_nothing_more() -> None:
    service = Service()
    transport = open_stream(service)
    stream = service.processor.attached["s1"]
    transport.half_close()
    assert not stream.writable
    service.clock.advance(0)
    assert service.processor.detached == [stream]


def test_a_stream_ends_with_its_session() -> None:
    service = Service()
    transport = open_stream(service)
    service.processor.attached["s1"].close(Reason.CLIENT)
    assert transport.value().endswith(b"0\r\n\r\n")
    assert not service.processor.attached["s1"].writable


def test_a_replaced_stream_stays_open() -> None:
    service = Service()
    transport = open_stream(service)
    service.processor.attached["s1"].replaced()
    assert not transport.value().endswith(b"0\r\n\r\n")


def test_one_timer_keeps_all_streams_alive() -> None:
    service = Service(keep_alive=20.0)
    service.connect()  # whose idle time is watched
    before = len(service.clock.getDelayedCalls())
    streams = [open_stream(service, name) for name in ("s1", "s2")]
    timers = len(service.clock.getDelayedCalls())
    assert timers == before + 1
    for transport in streams:
        transport.clear()
    service.clock.advance(20)
    assert [chunks(t.value()) for t in streams] == [b":\r\n\r\n"] * 2
    streams[0].lose()
    service.clock.advance(20)
    assert chunks(streams[1].value()) == b":\r\n\r\n" * 2
    streams[1].lose()
    assert len(service.clock.getDelayedCalls()) == before


def test_keep_alives_leave_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "TIME_SLICE", 0)
    service = Service(keep_alive=20.0)
    streams = [open_stream(service) for _ in range(40)]
    for transport in streams:
        transport.clear()
    written: list[int] = []

    def look() -> None:
        written.append(sum(transport.value() != b"" for transport in streams))
        if written[-1] < 40 and len(written) < 100:
            service.clock.callLater(0, look)

    service.clock.callLater(20, look)
    service.clock.advance(20)
    assert written[-1] == 40
    assert len(written) > 10


def test_a_client_that_does_not_keep_up_is_sent_nothing_more() -> None:
    service = Service()
    transport = open_stream(service)
    stream: Any = service.processor.attached["s1"]
    assert transport.producer is not None
    transport.producer.pauseProducing()
    assert not stream.writable
    transport.clear()
    service.clock.advance(30)
    assert transport.value() == b""
    transport.producer.resumeProducing()
    assert stream.writable
    assert service.processor.resumed == [stream]


def test_shutdown_ends_every_stream() -> None:
    service = Service()
    service.processor.attaching = Deferred()
    early = open_stream(service, "s2")
    service.processor.attaching = None
    transport = open_stream(service)
    assert service.resource.close().called
    assert transport.value().endswith(b"0\r\n\r\n")
    assert Answer(early.value()).headers["content-type"] == "text/event-stream"
    assert len(service.processor.detached) == 2


@pytest.mark.parametrize("origin", [None, "https://friend.example"])
def test_a_stopping_service_answers_with_a_stream_that_ends(
    origin: str | None,
) -> None:
    """With a 503, a browser would give up for good."""
    service = Service(origins=Origins(["https://friend.example"]))
    service.resource.refuse_requests()
    transport = open_stream(service, **({} if origin is None else {"origin": origin}))
    answer = Answer(transport.value())
    assert (answer.code, answer.body) == (200, b"retry: 2000\r\n\r\n")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["connection"] == "close"
    assert answer.headers.get("access-control-allow-origin") == origin
    assert transport.disconnecting
    assert service.processor.attached == {}


def test_a_stopping_service_refuses_streams_for_strangers() -> None:
    service = Service()
    service.resource.refuse_requests()
    answer = Answer(open_stream(service, origin="https://stranger.example").value())
    assert answer.code == 403


def test_the_service_s_own_page_may_open_a_stream_over_plain_http() -> None:
    # Browsers send no Origin with a same-origin EventSource, and no page can make
    # one to another origin without it.
    answer = Answer(open_stream(Service(), user_agent="Mozilla/5.0").value())
    assert answer.code == 200
