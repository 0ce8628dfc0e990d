"""Incoming extensions, and what subscribers get of what they add."""

from copy import deepcopy
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent

from txbayeux.extension import Extension, Pipeline
from txbayeux.message import Message
from txbayeux.testing import FakeRequest

from .extensions import Step, incoming, outgoing, put
from .harness import Client, Harness, result_of


def test_extensions_run_in_order_in_both_directions() -> None:
    class Named(Extension):
        def __init__(self, name: str) -> None:
            self.name = name

        def incoming(self, message: Message, request: Any) -> Message:
            seen.append(f"in {self.name}")
            return message

        def outgoing(self, message: Message, request: Any) -> Message:
            seen.append(f"out {self.name}")
            return message

    seen: list[str] = []
    Harness(Named("a"), Named("b")).send({"channel": "/a", "data": 1})
    assert seen == ["in a", "in b", "out a", "out b"]


def test_a_message_can_be_changed(answer: Any) -> None:
    harness = Harness(
        incoming(lambda m, _: answer(harness, {**m, "data": [m["data"]]})),
        incoming(lambda m, _: answer(harness, {**m, "data": [m["data"]]}), "/a"),
    )
    local: list[Message] = []
    harness.server.client().subscribe("/*", local.append)
    assert harness.send_and_wait({"channel": "/a", "data": 1})[0]["successful"]
    assert harness.send_and_wait({"channel": "/b", "data": 2})[0]["successful"]
    harness.settle()
    assert [message["data"] for message in local] == [[[1]], [2]]


def test_a_message_can_be_dropped(answer: Any) -> None:
    later: list[Message] = []
    harness = Harness(
        incoming(lambda m, _: answer(harness, None)),
        incoming(lambda m, _: later.append(m) or m),
    )
    assert harness.send_and_wait({"channel": "/a", "data": 1}, {"channel": "/b"}) == []
    assert later == []


def test_a_message_can_be_refused(answer: Any) -> None:
    harness = Harness(
        incoming(lambda m, _: answer(harness, {**m, "error": "403:/a:Not you"}))
    )
    [reply] = harness.send_and_wait({"channel": "/a", "data": 1, "id": "1"})
    assert reply == {
        "channel": "/a",
        "successful": False,
        "id": "1",
        "error": "403:/a:Not you",
    }


def test_the_following_extensions_see_a_refused_message() -> None:
    def forgive(message: Message, _: Any) -> Message:
        message.pop("error", None)
        return message

    harness = Harness(incoming(put("error", "403::No")), incoming(forgive))
    assert harness.send({"channel": "/a", "data": 1})[0]["successful"]


def test_an_extension_with_a_timeout_refuses_when_it_is_over() -> None:
    harness: Harness = Harness(
        incoming(lambda m, _: Deferred().addTimeout(5, harness.clock), "/slow"),
    )
    refused, passed = harness.send_and_wait(
        {"channel": "/slow", "data": 1}, {"channel": "/a", "data": 1}
    )
    assert refused["error"].startswith("500:")
    assert passed["successful"]


def test_a_hook_may_be_a_coroutine() -> None:
    class Asking(Extension):
        async def incoming(self, message: Message, request: Any) -> Message | None:
            await deferLater(harness.clock, 1)
            if message["data"] == "raise":
                raise RuntimeError
            return {**message, "data": [message["data"]]} if message["data"] else None

        async def outgoing(self, message: Message, request: Any) -> Message:
            return {**message, "ext": {"seen": True}}

    harness = Harness(Asking())
    local: list[Message] = []
    harness.server.client().subscribe("/a", local.append)
    replies = harness.send_and_wait(
        *({"channel": "/a", "data": data} for data in (1, 0, "raise"))
    )
    assert [reply["successful"] for reply in replies] == [True, False]
    assert all(reply["ext"] == {"seen": True} for reply in replies)
    assert [message["data"] for message in local] == [[1]]


@pytest.mark.parametrize(
    "outcome", [1, "text", [], [{"channel": "/a"}], True, object(), succeed(7)]
)
def test_a_hook_that_returns_no_message_fails_its_message_alone(outcome: Any) -> None:
    harness = Harness(incoming(lambda m, _: outcome, "/bad"), outgoing(lambda m, _: m))
    replies = harness.send({"channel": "/bad", "data": 1}, {"channel": "/a", "data": 1})
    assert replies[0]["error"] == "500::Internal server error"
    assert replies[1]["successful"]


@pytest.mark.parametrize("how", ["raise", "fail"])
def test_a_hook_that_raises_fails_its_message_alone(how: str) -> None:
    def bad(message: Message, _: Any) -> Any:
        if how == "raise":
            raise RuntimeError("secret")
        return fail(RuntimeError("secret"))

    harness = Harness(incoming(bad, "/bad"))
    with capturedLogs() as log:
        replies = harness.send(
            {"channel": "/bad", "data": 1}, {"channel": "/a", "data": 1}
        )
    assert replies[0]["error"] == "500::Internal server error"
    assert replies[1]["successful"]
    assert [formatEvent(event) for event in log] == [
        "An extension failed on a message to '/bad'"
    ]
    assert log[0]["log_failure"].check(RuntimeError)


def test_messages_of_a_request_wait_for_one_another() -> None:
    gates: list[Deferred[Any]] = []
    seen: list[Any] = []

    def slow(message: Message, _: Any) -> Any:
        seen.append(message["data"])
        if message["data"] == 1:
            gates.append(Deferred())
            return gates[0]
        return message

    harness = Harness(incoming(slow, "/a"))
    alice = harness.client("/a")
    answers: list[Any] = []
    alice.process(*[alice.message("/a", data=n) for n in range(3)]).addCallback(
        answers.append
    )
    assert (seen, answers) == ([0, 1], [])
    gates[0].callback(alice.message("/a", data="one"))
    assert len(answers[0].items) == 3
    assert alice.poll() == [0, "one", 2]


def test_a_meta_message_can_become_another() -> None:
    def turn(message: Message, _: Any) -> Message:
        return {**message, "subscription": "/b"}

    harness = Harness(incoming(turn, "/meta/subscribe"))
    alice = harness.client("/a")
    alice.publish("/a", 1)
    alice.publish("/b", 2)
    assert alice.poll() == [2]


def test_a_clients_own_error_is_ignored() -> None:
    seen: list[Message] = []
    harness = Harness(incoming(lambda m, _: seen.append(dict(m)) or m))
    [reply] = harness.send({"channel": "/a", "data": 1, "error": "403::Mine"})
    assert reply["successful"]
    assert "error" not in seen[0]


@pytest.mark.parametrize("channels", [(), ("/meta/**",)])
def test_every_meta_message_can_be_refused(channels: tuple[str, ...]) -> None:
    harness = Harness(incoming(put("error", "401::Token expired"), *channels))
    alice = Client(harness)
    alice.id = "x"
    for channel in ("handshake", "connect", "subscribe", "unsubscribe", "disconnect"):
        reply = alice.send(f"/meta/{channel}", subscription="/a", id="1")
        assert reply["error"] == "401::Token expired"
        assert (reply["successful"], reply["id"]) == (False, "1")
    assert harness.server.statistics()["sessions"] == 0


@pytest.mark.parametrize(
    "error", ["403::No", "401::No", "No", "Authentication failed", "a:b:c"]
)
def test_a_refused_handshake_or_connect_is_not_tried_again(error: str) -> None:
    harness = Harness(incoming(put("error", error)))
    alice = Client(harness)
    # CometD's clients send advice of their own, which is not the extension's.
    for channel in ("/meta/handshake", "/meta/connect"):
        reply = alice.send(channel, advice={"timeout": 0, "interval": 0})
        assert (reply["error"], reply["advice"]) == (error, {"reconnect": "none"})


def test_an_extension_may_advise_otherwise() -> None:
    def again(message: Message, _: Any) -> Message:
        message["error"] = "401::Token expired"
        message.setdefault("advice", {})["reconnect"] = "handshake"
        return message

    harness = Harness(incoming(again, "/meta/**"))
    for given in ({}, {"advice": {"timeout": 0}}):
        reply = Client(harness).send("/meta/handshake", **given)
        assert reply["advice"] == {"reconnect": "handshake"}


def test_a_402_of_an_extension_asks_for_a_handshake() -> None:
    harness = Harness(incoming(put("error", "402::Session moved"), "/meta/connect"))
    reply = harness.client().connect().reply
    assert reply["advice"] == {"reconnect": "handshake", "interval": 0}


# What a hook gets


def test_hooks_get_the_request_in_both_directions(harness: Harness) -> None:
    seen: list[Any] = []

    class Look(Extension):
        def incoming(self, message: Message, request: Any) -> Message:
            seen.append(request)
            return message

        outgoing = incoming

    harness = Harness(Look())
    request = FakeRequest(transport="websocket", headers={"cookie": "a=b"})
    harness.send({"channel": "/a", "data": 1}, request=request)
    assert seen == [request, request]
    result_of(harness.server.client().publish("/a", 1))
    assert seen[2:] == [None, None]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("/meta/**",), ["/meta/subscribe", "/meta/unsubscribe"]),
        (("/meta/subscribe",), ["/meta/subscribe"]),
        (("/a/*", "/b"), ["/a/x", "/b"]),
        (("/**",), ["/meta/subscribe", "/meta/unsubscribe", "/a/x", "/b", "/c"]),
        ((), ["/meta/subscribe", "/meta/unsubscribe", "/a/x", "/b", "/c", "/*"]),
    ],
)
def test_channels_restrict_an_extension(
    patterns: tuple[str, ...], expected: list[Any]
) -> None:
    seen: list[Any] = []
    harness = Harness(incoming(lambda m, _: seen.append(m["channel"]) or m, *patterns))
    alice = Client(harness)
    alice.id = "x"
    for channel in ("/meta/subscribe", "/meta/unsubscribe"):
        alice.send(channel, subscription="/a")
    harness.send(*({"channel": c, "data": 1} for c in ["/a/x", "/b", "/c", "/*"]))
    assert seen == expected


def test_a_hook_may_change_its_message() -> None:
    def spoil(message: Message, _: Any) -> Message:
        message.clear()
        message["channel"] = "/b"
        message["data"] = 2
        return message

    harness = Harness(incoming(spoil))
    original = {"channel": "/a", "data": 1, "ext": {"a": 1}}
    harness.send(original)
    assert original == {"channel": "/a", "data": 1, "ext": {"a": 1}}


# What subscribers get


def broadcast(step: Step, **fields: Any) -> Message:
    """Publish through an extension; return what a subscriber gets."""
    harness = Harness(incoming(step, "/a"))
    alice = harness.client("/a")
    harness.client().publish("/a", 1, **fields)
    [message] = alice.connect().messages
    return message


def test_fields_that_an_extension_adds_reach_subscribers() -> None:
    assert broadcast(put("from", "bob"))["from"] == "bob"
    assert broadcast(put("from", "bob"), **{"from": "carol"})["from"] == "bob"
    assert broadcast(put("ext", {"seq": 1}))["ext"] == {"seq": 1}
    assert broadcast(put("note", {}), note={"a": 1})["note"] == {}


@pytest.mark.parametrize("step", [lambda m, _: m, lambda m, _: deepcopy(m)])
def test_fields_of_the_publisher_do_not_reach_subscribers(step: Step) -> None:
    fields = {name: {"token": "secret"} for name in ("ext", "advice", "note")}
    assert broadcast(step, **fields) == {"channel": "/a", "data": 1}


@pytest.mark.parametrize("in_place", [True, False])
def test_of_ext_only_what_an_extension_adds_reaches_subscribers(in_place: bool) -> None:
    def take_token(message: Message, _: Any) -> Message:
        if not in_place:
            message["ext"] = dict(message["ext"])
        del message["ext"]["token"]
        message["ext"]["user"] = "bob"
        return message

    message = broadcast(take_token, ext={"token": "secret", "private": 1})
    assert message["ext"] == {"user": "bob"}


def test_ext_that_an_extension_only_reduced_does_not_reach_subscribers() -> None:
    message = broadcast(put("ext", {"private": 1}), ext={"token": 1, "private": 1})
    assert message == {"channel": "/a", "data": 1}


@pytest.mark.parametrize("field", ["clientId", "successful", "error"])
def test_no_extension_makes_a_delivery_look_like_a_reply(field: str) -> None:
    value = {"clientId": "other", "successful": True, "error": ""}[field]
    assert broadcast(put(field, value)) == {"channel": "/a", "data": 1}


@pytest.mark.parametrize(
    "wrong", [1, None, [], {}, {"data": 1}, {"channel": None}, {"channel": ["/a"]}]
)
def test_extensions_get_no_message_without_a_channel(wrong: Any) -> None:
    seen: list[Message] = []
    harness = Harness(
        incoming(lambda m, _: seen.append(m) or m),
        outgoing(lambda m, _: seen.append(m) or m),
    )
    [reply] = harness.send(wrong)
    assert reply["error"].startswith("400:")
    assert seen == []


class Misspelled(Extension):
    def incomming(self, message: Message, request: Any) -> None:
        """Is never called."""


class Unrelated:
    def incoming(self, message: Message, request: Any) -> None:
        """Is no extension, although it looks like one."""


REFUSE_ALL = put("error", "403::No")


@pytest.mark.parametrize(
    ("extension", "reason"),
    [
        (None, "must be an instance of a subclass of txbayeux.Extension"),
        ("text", "must be an instance"),
        (Unrelated(), "must be an instance"),
        (Misspelled, "must be an instance"),
        (Misspelled(), "must override incoming, outgoing, delivering or installed"),
        (Extension(), "must override"),
        (type("", (Extension,), {"incoming": None})(), "must override"),
        (incoming(REFUSE_ALL, *"/meta/**"), "channels must be a sequence"),
        (incoming(REFUSE_ALL, "/meta/*/x"), "channels must be"),
        (
            type("", (Extension,), {"incoming": REFUSE_ALL, "channels": "/meta/**"})(),
            "channels must be",
        ),
        (
            type("", (Extension,), {"incoming": REFUSE_ALL, "channels": 7})(),
            "channels must be",
        ),
    ],
)
def test_an_extension_that_would_never_be_called_is_refused(
    extension: Any, reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        Harness(extension)
    with pytest.raises(TypeError, match=reason):
        Pipeline("outgoing", [extension])


def test_a_hook_may_be_set_on_the_object() -> None:
    extension = incoming(REFUSE_ALL)
    plain_object = Extension()
    plain_object.incoming = extension.incoming  # type: ignore[method-assign]
    [reply] = Harness(plain_object).send({"channel": "/a", "data": 1})
    assert reply["error"] == "403::No"
