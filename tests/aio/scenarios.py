"""What programs on asyncio do with the client: python -m tests.aio.scenarios NAME URL

Each function is run by a process of its own, by ``asyncio.run`` if it is a coroutine
function.  Then nothing may be left, and there must be no global reactor of Twisted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from txbayeux import BayeuxError, Extension
from txbayeux.aio import Client, Subscription
from txbayeux.aio import client as aio_client
from txbayeux.client import Closed, PublishTimeout, State

SOON = 60
"""Seconds after which something will not happen any more, on the slowest machine."""


async def eventually(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, SOON)


async def pause() -> None:
    """Await what can be awaited in a task only, unlike ``asyncio.sleep(0)``."""
    await asyncio.sleep(0.001)


# Operations


async def a_publish_returns_the_reply(url: str) -> None:
    async with Client(url) as client:
        reply = await eventually(client.publish("/x", {"n": 1}))
        assert reply["successful"]
        assert reply["channel"] == "/x"


async def messages_come_in_order_on_each_transport(url: str) -> None:
    for kind in ("websocket", "eventsource", "long-polling", "callback-polling"):
        async with Client(url, transports=[kind]) as client:
            subscription = client.subscribe("/x")
            await eventually(subscription.ready())
            async with asyncio.TaskGroup() as group:
                for n in range(20):
                    group.create_task(client.publish("/x", n))
            got = [(await eventually(anext(subscription)))["data"] for _ in range(20)]
            assert got == list(range(20)), got
            assert client.transport == kind


async def refusals_raise_the_errors_of_the_twisted_client(url: str) -> None:
    async with Client(url) as client:
        with pytest.raises(BayeuxError, match="403:/forbidden:"):
            await eventually(client.publish("/forbidden", 1))
        with pytest.raises(BayeuxError, match="403:/forbidden:"):
            await eventually(client.subscribe("/forbidden").ready())
        with pytest.raises(BayeuxError, match="403:/forbidden:"):
            async for _ in client.subscribe("/forbidden"):
                pass
        with pytest.raises(BayeuxError, match="403:/forbidden:"):
            async with client.subscribe("/forbidden"):
                pass
        with pytest.raises(TypeError):
            await client.publish("/x", object())
    with pytest.raises(Closed):
        await client.publish("/x", 1)
    with pytest.raises(ValueError, match="URL"):
        Client("nowhere")
    with pytest.raises(TypeError, match="reactor"):
        Client(url, reactor=object())


async def an_iteration_ends_with_the_client(url: str) -> None:
    client = Client(url)
    got = []

    async def read() -> None:
        async for message in client.subscribe("/x"):
            got.append(message["data"])
            await client.disconnect()

    reading = asyncio.create_task(read())
    while not got:
        await client.publish("/x", "hello")
        await asyncio.sleep(0)
    await eventually(reading)
    assert client.state is State.DISCONNECTED


async def a_subscription_is_a_context_that_cancels_it(url: str) -> None:
    async with Client(url) as client:
        async with client.subscribe("/x") as subscription:
            await client.publish("/x", 1)
            async for message in subscription:
                assert message["data"] == 1
                break
        assert not subscription.active


async def a_subscription_has_one_reader(url: str) -> None:
    async with Client(url) as client:
        subscription = client.subscribe("/x")
        reading = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await anext(subscription)
        with pytest.raises(TypeError, match="listener"):
            aiter(client.subscribe("/x", print))
        reading.cancel()


# Coroutines of the application


async def listeners_may_be_coroutine_functions(url: str) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def listener(*arguments: Any) -> None:
        await pause()
        await heard.put(arguments)

    client = Client(url)
    client.on_up(listener)
    client.on_state(listener)
    async with client:
        await client.subscribe("/x", listener).ready()
        await client.publish("/x", 1)
        kinds = set()
        while kinds != {0, 1, 2}:  # how many arguments each listener gets
            kinds.add(len(await eventually(heard.get())))


async def credentials_may_be_coroutine_functions(url: str) -> None:
    tokens = iter(["expired", "fresh"])

    async def ext() -> dict[str, str]:
        await pause()
        return {"token": next(tokens)}

    async with Client(url, ext=ext, headers={"X-A": "b"}) as client:
        await eventually(client.connect())
    assert list(tokens) == []


async def hooks_of_extensions_may_be_coroutine_functions(url: str) -> None:
    class Stamp(Extension):
        channels = ("/x",)

        async def outgoing(self, message: Any, request: Any) -> Any:
            await pause()
            return message | {"data": message["data"] + 1}

    async with Client(url, extensions=[Stamp()]) as client:
        client.add_extension(Stamp())
        async with client.subscribe("/x") as subscription:
            await client.publish("/x", 1)
            assert (await eventually(anext(subscription)))["data"] == 3
        with pytest.raises(TypeError, match="extension"):
            client.add_extension(object())  # type: ignore[arg-type]


async def a_listener_has_time_to_end_after_a_disconnect(url: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def listener(message: Any) -> None:
        begun.set()
        while client.state is not State.DISCONNECTED:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        ended.set()

    aio_client.GRACE = SOON  # type: ignore[misc]
    async with Client(url) as client:
        await client.subscribe("/x", listener).ready()
        await client.publish("/x", 1)
        await eventually(begun.wait())
    assert ended.is_set()


async def a_listener_that_does_not_end_is_cancelled(url: str) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def listener(message: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    aio_client.GRACE = 0  # type: ignore[misc]
    async with Client(url) as client:
        await client.subscribe("/x", listener).ready()
        await client.publish("/x", 1)
        await eventually(begun.wait())
    assert cancelled.is_set()


async def a_listener_may_disconnect(url: str) -> None:
    done = asyncio.Event()

    async def listener(message: Any) -> None:
        await client.disconnect()
        done.set()

    client = Client(url)
    await client.subscribe("/x", listener).ready()
    publishing = asyncio.create_task(client.publish("/x", 1))
    await eventually(done.wait())
    with contextlib.suppress(Closed):
        await publishing


# Cancellation


async def a_time_limit_ends_a_publish(url: str) -> None:
    async with Client("http://127.0.0.1:1/") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.publish("/x", 1)
        assert client.pending == 0
        with pytest.raises(PublishTimeout):
            await eventually(client.publish("/x", 1, deadline=0.01))


async def a_time_limit_ends_waiting_for_a_connection(url: str) -> None:
    async with Client("http://127.0.0.1:1/") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.connect()
        assert client.state is not State.DISCONNECTED


async def a_cancelled_reader_loses_no_message(url: str) -> None:
    async with Client(url) as client, client.subscribe("/x") as subscription:
        sent = [asyncio.create_task(client.publish("/x", n)) for n in range(50)]
        got: list[int] = []
        turn = 0
        while len(got) < 50:
            reading = asyncio.create_task(anext(subscription))  # type: ignore[arg-type]
            turn += 1
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                got.append((await reading)["data"])
        assert got == list(range(50)), got
        await asyncio.gather(*sent)


async def a_message_that_comes_with_the_cancellation_is_kept(url: str) -> None:
    class Inner:
        """A subscription that gets a message when the test says so."""

        def __init__(self) -> None:
            self.coming: list[Deferred[Any]] = []

        async def __anext__(self) -> Any:
            self.coming.append(Deferred())
            return await self.coming[-1]

    async def read() -> None:
        got.append(await anext(subscription))

    got: list[Any] = []
    inner: Any = Inner()
    subscription = Subscription(inner)
    for n in range(2):
        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        if n:
            reading.cancel()
            inner.coming[-1].callback({"data": n})
        else:
            inner.coming[-1].callback({"data": n})
            reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await read()
        assert got == [{"data": n}]
        got.clear()


async def a_cancelled_program_disconnects(url: str) -> None:
    async def program() -> None:
        async with Client(url) as client:
            clients.append(client)
            async for _ in client.subscribe("/x"):
                pass

    clients: list[Client] = []
    running = asyncio.create_task(program())
    while not (clients and clients[0].state is State.CONNECTED):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert clients[0].state is State.DISCONNECTED


async def an_error_in_a_task_group_disconnects(url: str) -> None:
    async def program() -> None:
        async with client, asyncio.TaskGroup() as group:
            group.create_task(read_for_ever(client))
            await eventually(client.connect())
            raise LookupError

    client = Client(url)
    with pytest.raises(ExceptionGroup):
        await program()
    assert client.state is State.DISCONNECTED


async def read_for_ever(client: Client) -> None:
    async for _ in client.subscribe("/x"):
        pass


# Event loops


def a_process_may_have_several_loops(url: str) -> None:
    async def program() -> None:
        async with Client(url) as client:
            await eventually(client.publish("/x", 1))

    for _ in range(3):
        asyncio.run(program())
    threads = [threading.Thread(target=asyncio.run, args=[program()]) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


def a_client_may_be_made_before_its_loop(url: str) -> None:
    client = Client(url)
    assert client.state is State.IDLE
    assert client.url == url
    with pytest.raises(RuntimeError, match="needs the running event loop"):
        client.subscribe("/x")
    asyncio.run(use(client))
    assert client.state is State.DISCONNECTED


async def use(client: Client) -> None:
    async with client:
        await eventually(client.connect())


def a_client_belongs_to_one_loop(url: str) -> None:
    async def begin() -> None:
        client.subscribe("/x")

    async def go_on() -> None:
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await client.publish("/x", 1)
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            client.subscribe("/x")

    client = Client(url)
    asyncio.run(begin())
    asyncio.run(go_on())


def the_end_of_the_loop_disconnects(url: str) -> None:
    """What is said in a task's last moments still arrives."""

    async def last_words() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await client.publish("/x", "bye")
            said.append("bye")

    async def program() -> None:
        client.subscribe("/x", lambda message: None)
        await eventually(client.connect())
        tasks.append(asyncio.create_task(last_words()))
        await asyncio.sleep(0)

    client = Client(url)
    said: list[str] = []
    tasks: list[Any] = []
    asyncio.run(program())
    assert said == ["bye"]
    assert client.state is State.DISCONNECTED


def a_loop_that_ends_without_a_server_leaves_nothing(url: str) -> None:
    async def program() -> None:
        client.subscribe("/x")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.publish("/x", 1), 0.01)

    for address in ("http://127.0.0.1:1/", "http://nowhere.invalid/"):
        client = Client(address)
        asyncio.run(program())
        assert client.state is State.DISCONNECTED


def an_interrupt_ends_a_program(url: str) -> None:
    async def program() -> None:
        async with client:
            await eventually(client.connect())
            signal.raise_signal(signal.SIGINT)
            await read_for_ever(client)

    client = Client(url)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())
    assert client.state is State.DISCONNECTED


async def a_client_that_nobody_keeps_goes_on(url: str) -> None:
    def subscribe() -> None:
        Client(url).subscribe("/x", got.put_nowait)

    got: asyncio.Queue[Any] = asyncio.Queue()
    subscribe()
    async with Client(url) as client:
        while got.empty():
            gc.collect()
            await client.publish("/x", 1)


async def a_client_that_has_ended_is_freed(url: str) -> None:
    for kind in ("websocket", "eventsource", "long-polling", "callback-polling"):
        async with Client(url, transports=[kind]) as client:
            await eventually(client.connect())
        gone = asyncio.Event()
        weakref.finalize(client, gone.set)
        del client
        gc.collect()
        assert gone.is_set(), kind


async def a_message_counts_until_its_listener_has_ended(url: str) -> None:
    """So the client waits for slow coroutines, and repeats what they did not end."""

    async def listener(message: Any) -> None:
        begun.set()
        await may_end.wait()

    begun, may_end = asyncio.Event(), asyncio.Event()
    async with Client(url) as client:
        await client.subscribe("/x", listener).ready()
        await client.publish("/x", 1)
        await eventually(begun.wait())
        assert client.unprocessed == 1
        may_end.set()
        while client.unprocessed:
            await asyncio.sleep(0)


def signals_and_threads_are_left_alone(url: str) -> None:
    def handler(*arguments: Any) -> None: ...

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    for kind in kinds:
        signal.signal(kind, handler)
    asyncio.run(use(Client(url)))
    assert [signal.getsignal(kind) for kind in kinds] == [handler] * len(kinds)
    assert threading.active_count() == 1


def another_reactor_may_run_in_another_thread(url: str) -> None:
    from twisted.internet import reactor  # noqa: PLC0415

    other: Any = reactor
    running = threading.Event()
    other.callWhenRunning(running.set)
    thread = threading.Thread(target=other.run, args=[False])
    thread.start()
    assert running.wait(SOON)
    try:
        asyncio.run(use(Client(url)))
    finally:
        other.callFromThread(other.stop)
        thread.join()


def a_program_of_twisted_is_told_to_use_the_other_client(url: str) -> None:
    from twisted.internet.task import react  # noqa: PLC0415

    async def main(reactor: Any) -> None:
        with pytest.raises(RuntimeError, match="programs on one of Twisted's reactors"):
            await Client(url).connect()

    with pytest.raises(SystemExit, match="0"):
        react(main)


def a_coroutine_of_twisted_on_its_asyncio_reactor_is_told_too(url: str) -> None:
    from twisted.internet import asyncioreactor  # noqa: PLC0415

    asyncioreactor.install()

    from twisted.internet.task import deferLater, react  # noqa: PLC0415

    async def main(reactor: Any) -> None:
        await deferLater(reactor, 0)  # until its loop runs
        with pytest.raises(RuntimeError, match="needs a task of asyncio"):
            await Client(url).connect()
        task = asyncio.get_running_loop().create_task(use(Client(url)))
        await task_ended(task)

    with pytest.raises(SystemExit, match="0"):
        react(main)


def task_ended(task: asyncio.Task[Any]) -> Any:
    return Deferred.fromFuture(task)


WITH_GLOBAL_REACTOR = {
    another_reactor_may_run_in_another_thread,
    a_program_of_twisted_is_told_to_use_the_other_client,
    a_coroutine_of_twisted_on_its_asyncio_reactor_is_told_too,
}


# Networks


async def the_next_address_is_tried(url: str) -> None:
    """A name with several addresses, of which the first does not answer."""
    port = int(url.rpartition(":")[2].partition("/")[0])
    kind = socket.SOCK_STREAM
    addresses = [
        (socket.AF_INET6, kind, 6, "", ("::1", 1, 0, 0)),
        (socket.AF_INET, kind, 6, "", ("127.0.0.1", port)),
    ]
    socket.getaddrinfo = lambda *arguments: addresses  # type: ignore[assignment]
    await use(Client(f"http://several.example:{port}/bayeux"))


def main(name: str, url: str) -> None:
    scenario: Callable[[str], Any] = globals()[name]
    before = os.listdir("/proc/self/fd")
    if inspect.iscoroutinefunction(scenario):
        asyncio.run(scenario(url))
    else:
        scenario(url)
    gc.collect()
    if scenario not in WITH_GLOBAL_REACTOR:
        assert "twisted.internet.reactor" not in sys.modules
        assert os.listdir("/proc/self/fd") == before
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
