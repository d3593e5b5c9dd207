"""`run`: what it takes, and its way out, which leaves nothing behind and always ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import tepal

Told = list[dict[str, Any]]


def telling() -> Told:
    """Collect what the loop's exception handler is told from now on."""
    told: Told = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    return told


async def add(one: int, other: int) -> int:
    await asyncio.sleep(0)
    return one + other


def test_it_takes_a_coroutine_or_a_function() -> None:
    assert tepal.run(add(1, 2)) == 3
    assert tepal.run(add, 1, 2) == 3
    with tepal.Runner() as runner:
        assert runner.run(add(1, 2)) == 3
        assert runner.run(add, 3, 4) == 7


@pytest.mark.parametrize("wrong", [len, print])
def test_it_takes_nothing_else(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes an async function"):
        tepal.run(wrong, [])


def test_a_coroutine_has_its_arguments_already() -> None:
    with pytest.raises(TypeError, match="arguments for an async function"):
        tepal.run(add(1, 2), 3)  # type: ignore[call-overload]


@pytest.mark.parametrize("options", [{"grace": -1}, {"grace": float("nan")}, {"on_exit": "leave"}])
def test_options_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        tepal.run(add, 1, 2, **options)


def test_tasks_are_cancelled_on_the_way_out() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.01)
            ended.append("work")

    async def main() -> None:
        asyncio.create_task(work())
        await asyncio.sleep(0)

    tepal.run(main)
    assert ended == ["work"]


def test_tasks_are_waited_for_when_that_is_asked() -> None:
    ended = []

    async def work(name: str, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended.append(f"{name} done")
        except asyncio.CancelledError:
            ended.append(f"{name} cancelled")
            raise

    async def main() -> None:
        asyncio.create_task(work("one", 0.03))
        tepal.daemon(asyncio.create_task(work("daemon", 100)))

    tepal.run(main, on_exit="wait")
    assert ended == ["one done", "daemon cancelled"]


def test_a_program_that_fails_waits_for_nobody() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("work")

    async def main() -> None:
        asyncio.create_task(work())
        await asyncio.sleep(0)
        raise KeyError

    with pytest.raises(KeyError):
        tepal.run(main, on_exit="wait")
    assert ended == ["work"]


def test_only_a_task_is_daemonic() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="a task was expected"):
            tepal.daemon(asyncio.get_running_loop().create_future())  # type: ignore[type-var]

    tepal.run(main)


def test_who_does_not_stop_is_named() -> None:
    told: Told = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        nonlocal told
        told = telling()
        asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(0)

    begun = time.monotonic()
    tepal.run(main, grace=0.1)
    assert time.monotonic() - begun < 5
    (context,) = told
    assert context["message"].startswith(
        "task stubborn was cancelled and did not stop within 0.1 seconds: it stands in"
    )
    assert "await asyncio.sleep(100)" in context["message"]
    assert context["task"].get_name() == "stubborn"


def test_an_error_in_clean_up_is_told() -> None:
    told: Told = []

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise KeyError

    async def main() -> None:
        nonlocal told
        told = telling()
        asyncio.create_task(work())
        await asyncio.sleep(0)

    tepal.run(main)
    (context,) = told
    assert context["message"] == "unhandled exception during tepal.run() shutdown"
    assert isinstance(context["exception"], KeyError)


def test_a_task_made_on_the_way_out_is_cancelled_too() -> None:
    ended = []

    async def second() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append("second")

    async def first() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            asyncio.create_task(second())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ended.append("first")

    async def main() -> None:
        asyncio.create_task(first())
        await asyncio.sleep(0)

    tepal.run(main)
    assert ended == ["first", "second"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_ends_the_program_on_the_way_out(error: type[BaseException]) -> None:
    ended = []

    async def raises() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise error

    async def work() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.001)
            ended.append("work")

    async def main() -> AsyncIterator[int]:
        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                ended.append("generator")

        iterator = numbers()
        await anext(iterator)
        asyncio.create_task(work())
        asyncio.create_task(raises())
        await asyncio.sleep(0)
        return iterator

    with pytest.raises(error):
        tepal.run(main)
    assert ended == ["work", "generator"]


def test_a_generator_that_does_not_end_is_given_up() -> None:
    told: Told = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(100)

    async def main() -> AsyncIterator[int]:
        nonlocal told
        told = telling()
        iterator = numbers()
        await anext(iterator)
        return iterator

    kept = tepal.run(main, grace=0.1)
    assert [context["message"] for context in told] == ["asynchronous generators were not closed within 0.1 seconds"]
    del kept


def test_what_is_open_is_closed(tmp_path: Path) -> None:
    lost: list[BaseException | None] = []
    child: Any = None

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc: BaseException | None) -> None:
            lost.append(exc)

    async def main() -> tuple[Any, socket.socket]:
        nonlocal child
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        await loop.create_connection(Protocol, *address)
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        reader, writer = os.pipe()
        await loop.connect_read_pipe(Protocol, os.fdopen(reader, "rb"))
        peer = os.fdopen(writer, "wb")
        child, _ = await loop.subprocess_exec(
            asyncio.SubprocessProtocol, sys.executable, "-c", "import time; time.sleep(99)"
        )
        await asyncio.sleep(0.05)
        return address, peer  # type: ignore[return-value]

    address, peer = tepal.run(main)
    assert len(lost) == 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
    assert child.is_closing()
    peer.close()


def test_a_thread_that_does_not_end_does_not_hold_up_the_process() -> None:
    program = """
import asyncio, tepal, threading
async def main():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    await asyncio.sleep(0.05)
tepal.run(main, grace=0.2)
print("out")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0
    assert ended.stdout == "out\n"
    assert "thread asyncio_0 of the default executor did not end within 0.2 seconds" in ended.stderr


def test_a_thread_that_is_busy_is_waited_for_at_the_end_of_the_process() -> None:
    # As the interpreter does for a ThreadPoolExecutor: what was begun is finished, though nobody waits for it on the loop.
    program = """
import asyncio, os, tepal, time
def work():
    time.sleep(0.2)
    os.write(1, b"worked\\n")
loop = tepal.new_event_loop()
loop.run_in_executor(None, work)
loop.run_in_executor(None, work)
loop.close()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "worked\nworked\n", "")


def interrupted(program: str, *when: str, signum: int = signal.SIGINT) -> subprocess.CompletedProcess[str]:
    """Run a program, and send it the signal when it has printed each of these lines."""
    child = subprocess.Popen(
        [sys.executable, "-uc", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_like_a_terminal,
    )
    seen = ""
    with child:
        try:
            assert child.stdout is not None
            for line in when:
                while not seen.endswith(f"{line}\n"):
                    more = child.stdout.readline()
                    assert more, seen
                    seen += more
                child.send_signal(signum)
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()  # (Nothing, if it has ended; else the tests that look for children would find it.)
    return subprocess.CompletedProcess(program, child.returncode, seen + out, err)


def _like_a_terminal() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_cancels_the_program() -> None:
    program = """
import asyncio, tepal
async def main():
    try:
        print("ready")
        await asyncio.sleep(100)
    finally:
        await asyncio.sleep(0.01)
        print("cleaned")
tepal.run(main)
"""
    ended = interrupted(program, "ready")
    assert ended.stdout == "ready\ncleaned\n"
    assert "KeyboardInterrupt" in ended.stderr
    assert ended.returncode == -signal.SIGINT


def test_ctrl_c_twice_ends_a_program_that_resists() -> None:
    program = """
import asyncio, tepal
async def main():
    try:
        print("ready")
        await asyncio.sleep(100)
    finally:
        print("cleaning")
        await asyncio.sleep(100)
tepal.run(main)
"""
    ended = interrupted(program, "ready", "cleaning")
    assert ended.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in ended.stderr


def test_ctrl_c_on_the_way_out_leaves_no_grace() -> None:
    program = """
import asyncio, tepal
async def stubborn():
    while True:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            # (Later: Ctrl-C is to come while it waits, not while it prints.)
            asyncio.get_running_loop().call_later(0.1, print, "resists")
async def main():
    asyncio.create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
tepal.run(main, grace=1000)
"""
    begun = time.monotonic()
    ended = interrupted(program, "resists")
    assert time.monotonic() - begun < 20
    assert ended.returncode == -signal.SIGINT
    assert "task stubborn was cancelled and did not stop before Ctrl-C" in ended.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_wait_for_interrupt_turns_it_into_a_value(signum: signal.Signals) -> None:
    program = """
import asyncio, tepal
async def main():
    print("ready")
    signum = await tepal.wait_for_interrupt()
    print(signum.name)
tepal.run(main)
"""
    # (The line is printed a moment before it waits, so the signal may come first: it is sent by the program's first child turn.)
    program = program.replace(
        '    print("ready")\n', '    asyncio.get_running_loop().call_later(0.05, print, "ready")\n'
    )
    ended = interrupted(program, "ready", signum=signum)
    assert (ended.returncode, ended.stdout) == (0, f"ready\n{signum.name}\n")


def test_a_second_interrupt_is_an_ordinary_one() -> None:
    program = """
import asyncio, tepal
async def main():
    asyncio.get_running_loop().call_later(0.05, print, "ready")
    await tepal.wait_for_interrupt()
    try:
        print("winding up")
        await asyncio.sleep(100)
    finally:
        print("cancelled")
tepal.run(main)
"""
    ended = interrupted(program, "ready", "winding up")
    assert ended.stdout.endswith("winding up\ncancelled\n")
    assert ended.returncode == -signal.SIGINT


def test_signals_are_received_one_by_one() -> None:
    async def main() -> None:
        before = signal.getsignal(signal.SIGUSR1)
        with tepal.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as received:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR1)
            seen = [await anext(received), await anext(received)]
            assert sorted(seen) == [signal.SIGUSR1, signal.SIGUSR2]
            asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGUSR2)
            async for signum in received:
                assert signum == signal.SIGUSR2
                break
        assert signal.getsignal(signal.SIGUSR1) is before

    tepal.run(main)


def test_what_was_not_received_is_delivered() -> None:
    async def main() -> None:
        seen = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, seen.append, "loop's")
        with tepal.open_signal_receiver(signal.SIGUSR1):
            signal.raise_signal(signal.SIGUSR1)
            await asyncio.sleep(0.01)
            assert seen == []
        await asyncio.sleep(0.01)
        assert seen == ["loop's"]
        loop.remove_signal_handler(signal.SIGUSR1)

    tepal.run(main)


def test_no_signal_and_no_thread_but_the_main_one() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="No signals"), tepal.open_signal_receiver():
            pass
        with pytest.raises(ValueError, match="999"), tepal.open_signal_receiver(999):
            pass

    tepal.run(main)
    errors = []

    async def elsewhere() -> None:
        try:
            await tepal.wait_for_interrupt()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=lambda: tepal.run(elsewhere))
    thread.start()
    thread.join()
    assert len(errors) == 1


@pytest.mark.parametrize("grace", [0, 0.05])
def test_a_server_with_idle_clients_closes_in_time(grace: float) -> None:
    # From Python 3.12 on wait_closed() waits for the clients, and an idle one keeps it for ever.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()

        class Idle(asyncio.Protocol):
            def connection_lost(self, exc: BaseException | None) -> None:
                lost.set_result(None)

        server = await loop.create_server(Idle, "127.0.0.1", 0)
        client, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        await asyncio.sleep(0.02)
        server.close(grace=grace)  # type: ignore[call-arg]
        async with asyncio.timeout(5):
            await lost
            await server.wait_closed()
        client.abort()

    tepal.run(main)


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_a_grace_that_is_none(wrong: float) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        with pytest.raises(ValueError, match="grace must be"):
            server.close(grace=wrong)  # type: ignore[call-arg]
        server.close()

    tepal.run(main)
