"""The client's examples do what their first lines say, with a server in memory."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from examples import follow, listen, salesforce
from tests.failures import none_logged
from txbayeux import Bayeux, Client, Extension
from txbayeux.message import Message
from txbayeux.testing import MemoryServer


class Refusing(Extension):
    """Refuse all messages on one channel."""

    def __init__(self, channel: str, error: str) -> None:
        self.channels = (channel,)
        self._error = error

    def incoming(self, message: Message, request: object) -> Message:
        return message | {"error": self._error}


class Running:
    """An example whose clients talk to a server in memory."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        main: Callable[..., Coroutine[Any, Any, Any]],
        *arguments: str,
        extensions: tuple[Extension, ...] = (),
    ) -> None:
        self.server = MemoryServer(lambda clock: Bayeux(clock, extensions=extensions))
        self.reactor: Any = self.server.clock
        self.bayeux = self.server.bayeux
        self.clients: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[Any] = []

        def client(url: str, **options: Any) -> Client:
            self.clients.append((url, options))
            return self.server.new_client(url, **options)

        for module in (follow, listen, salesforce):
            monkeypatch.setattr(module, "Client", client)
        Deferred.fromCoroutine(main(self.reactor, *arguments)).addCallbacks(
            self.ended.append, lambda failure: self.ended.append(failure.value)
        )
        self.pass_time()

    def pass_time(self) -> None:
        self.server.advance(0.1)

    def interrupt(self) -> None:
        """Stop the reactor as Ctrl-C does."""
        for function, arguments, keywords in self.reactor.triggers["before"][
            "shutdown"
        ]:
            function(*arguments, **keywords)
        self.pass_time()

    def status(self) -> object:
        """Return what the example would exit with; fails if it goes on."""
        self.server.until(lambda: self.ended)
        (ended,) = self.ended
        if isinstance(ended, SystemExit):
            return ended.code
        if isinstance(ended, Exception):
            raise ended
        return ended


@pytest.fixture(autouse=True)
def no_failure_is_logged() -> Iterator[None]:
    with none_logged():
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("INSTANCE_URL", "https://example.com")
    monkeypatch.setenv("ACCESS_TOKEN", "s3cret")
    monkeypatch.chdir(tmp_path)


Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def test_follow_prints_what_is_said(monkeypatch: Patch, capsys: Capture) -> None:
    running = Running(monkeypatch, follow.main)
    running.server.publish("/chat", "hello")
    running.server.publish("/chat", "you")
    assert capsys.readouterr().out == "hello\nyou\n"
    assert running.ended == []


def test_listen_answers_questions(monkeypatch: Patch, capsys: Capture) -> None:
    running = Running(monkeypatch, listen.main)
    answers: list[Any] = []
    running.bayeux.subscribe("/answers", lambda m: answers.append(m["data"]["to"]))
    for question in ("how are you?", "really?"):
        running.server.publish("/questions", question)
    assert answers == ["how are you?", "really?"]
    assert capsys.readouterr().out == "connected\nhow are you?\nreally?\n"


def test_salesforce_prints_events(monkeypatch: Patch, capsys: Capture) -> None:
    running = Running(monkeypatch, salesforce.main, "/event/A")
    running.server.publish("/event/A", {"n": 1})
    running.interrupt()  # closes its file
    assert capsys.readouterr().out == "{'n': 1}\n"
    ((url, options),) = running.clients
    assert url == f"https://example.com/cometd/{salesforce.API}/"
    assert options["headers"]() == {"Authorization": "Bearer s3cret"}


EXAMPLES = [
    (follow.main, "/chat", ()),
    (listen.main, "/questions", ()),
    (salesforce.main, "/event/A", ("/event/A",)),
]


@pytest.mark.parametrize(("main", "channel", "arguments"), EXAMPLES)
def test_an_interrupt_ends_it(
    monkeypatch: Patch, main: Any, channel: str, arguments: tuple[str, ...]
) -> None:
    running = Running(monkeypatch, main, *arguments)
    running.interrupt()
    assert running.status() is None
    assert running.bayeux.server.statistics()["sessions"] == 0
    running.reactor.advance(120)
    assert running.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(("main", "channel", "arguments"), EXAMPLES)
@pytest.mark.parametrize("refused", ["/meta/handshake", "/meta/subscribe"])
def test_a_refusal_ends_it_with_one_sentence(
    monkeypatch: Patch,
    main: Any,
    channel: str,
    arguments: tuple[str, ...],
    refused: str,
) -> None:
    extension = Refusing(refused, "403::Not you")
    running = Running(monkeypatch, main, *arguments, extensions=(extension,))
    assert "refused: 403" in str(running.status())


def test_listen_ends_when_its_answer_is_refused(monkeypatch: Patch) -> None:
    extension = Refusing("/answers", "403::Not you")
    running = Running(monkeypatch, listen.main, extensions=(extension,))
    running.bayeux.publish("/questions", "how are you?")
    running.pass_time()
    assert running.status() == "refused: 403::Not you"


def test_salesforce_says_which_variables_are_missing(monkeypatch: Patch) -> None:
    monkeypatch.delenv("ACCESS_TOKEN")
    running = Running(monkeypatch, salesforce.main, "/event/A")
    assert running.status() == "set ACCESS_TOKEN in the environment"
