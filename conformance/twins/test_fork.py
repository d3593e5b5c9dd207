"""fork(): the child may make a loop of its own, and the parent's goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import traceback
import warnings
from collections.abc import Callable

from .support import LoopFactory


def forked(child: Callable[[], object]) -> str:
    """Run `child` in a forked process; "" when it ended well, or the traceback."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads about is the subject
        number = os.fork()
    if number == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # a hang in here must not outlive the test
        text = ""
        try:
            child()
        except BaseException:  # noqa: BLE001 - the child must end here, whatever comes
            text = traceback.format_exc() or "?"
        finally:
            os.write(writing, text.encode()[-4000:])
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(number, 0)
    return text or (f"the child ended with status {status}" if status else "")


async def conversation() -> bytes:
    """Something that needs timers, wake-ups and sockets."""
    await asyncio.sleep(0.001)
    one, other = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=one)
    with other:
        other.send(b"hello")
        data = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
    assert await asyncio.to_thread(int) == 0
    return data


def test_a_child_of_a_program_with_an_idle_loop_makes_its_own(loop_factory: LoopFactory) -> None:
    parents = loop_factory()
    parents.run_until_complete(conversation())

    def child() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(conversation()) == b"hello"

    assert forked(child) == ""
    assert parents.run_until_complete(conversation()) == b"hello"
    parents.run_until_complete(parents.shutdown_default_executor())
    parents.close()


def test_a_child_of_a_running_loop_makes_its_own(loop_factory: LoopFactory) -> None:
    def child() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(conversation()) == b"hello"

    async def main() -> None:
        assert forked(child) == ""
        assert await conversation() == b"hello"

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_the_parents_registrations_survive_the_child(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        with one, other:
            arrived = loop.create_future()
            loop.add_reader(one, lambda: arrived.done() or arrived.set_result(one.recv(10)))
            await asyncio.sleep(0.001)  # by now the kernel knows of it
            assert forked(lambda: asyncio.Runner(loop_factory=loop_factory).run(conversation())) == ""
            other.send(b"for me")
            assert await asyncio.wait_for(arrived, 5) == b"for me"
            loop.remove_reader(one)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_there_is_no_running_loop_in_the_child(loop_factory: LoopFactory) -> None:
    def child() -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise AssertionError("the parent's loop seems to run in the child")

    async def main() -> None:
        assert forked(child) == ""

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
