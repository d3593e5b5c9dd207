"""Pipes and processes: every one is in a cycle with its protocol, and a process with its pipes besides."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest

Collected = Callable[..., None]
Refs = tuple["weakref.ref[Any]", ...]


class Keeping(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: Any = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set()


def refs(*things: Any) -> Refs:
    return tuple(weakref.ref(thing) for thing in things)


def unbuffered(descriptor: int | str, mode: str) -> Any:
    """The file object over a descriptor, as `subprocess` makes it."""
    return open(descriptor, mode, 0)


async def connected(direction: str) -> tuple[Any, Keeping, int]:
    near, far = os.pipe()
    loop = asyncio.get_running_loop()
    if direction == "read":
        transport, protocol = await loop.connect_read_pipe(Keeping, unbuffered(near, "rb"))
        return transport, protocol, far
    transport, protocol = await loop.connect_write_pipe(Keeping, unbuffered(far, "wb"))
    return transport, protocol, near


@pytest.mark.parametrize("direction", ["read", "write"])
@pytest.mark.parametrize("how", ["close", "other end"])
def test_a_closed_pipe(loop: asyncio.AbstractEventLoop, assert_collected: Collected, direction: str, how: str) -> None:
    async def main() -> Refs:
        transport, protocol, other = await connected(direction)
        if how == "close":
            transport.close()
        os.close(other)
        await protocol.lost.wait()
        return refs(transport, protocol)

    assert_collected(*loop.run_until_complete(main()))


@pytest.mark.parametrize("direction", ["read", "write"])
def test_an_open_pipe_of_a_loop_that_is_gone(assert_collected: Collected, direction: str) -> None:
    import tepal

    async def main() -> tuple[Refs, int, Any]:
        transport, protocol, other = await connected(direction)
        if direction == "write":
            transport.write(b"x" * 1_000_000)
        return refs(transport, protocol), other, transport.get_extra_info("pipe")

    loop = tepal.new_event_loop()
    found, other, file = loop.run_until_complete(main())
    loop.close()
    del loop
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gc.collect()
        assert any("unclosed transport" in str(warning.message) for warning in seen)
        seen.clear()
    assert_collected(*found)
    assert file.closed
    os.close(other)


def test_a_pipe_that_failed_to_connect(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> Refs:
        protocol = Keeping()
        with open(os.devnull, "rb") as null, open(__file__, "rb") as file:  # noqa: ASYNC230
            assert null
            with pytest.raises(ValueError, match="Pipe transport"):
                await loop.connect_read_pipe(lambda: protocol, file)
        return refs(protocol)

    assert_collected(*loop.run_until_complete(main()))


def test_a_process_that_has_ended(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    async def main() -> Refs:
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        transport: Any = process._transport  # type: ignore[attr-defined]
        found = refs(process, transport, transport.get_extra_info("subprocess"), transport.get_pipe_transport(1))
        await process.communicate(b"x")
        transport.close()
        return found

    assert_collected(*loop.run_until_complete(main()))


def test_a_process_that_could_not_be_started(loop: asyncio.AbstractEventLoop, assert_collected: Collected) -> None:
    class Nothing(asyncio.SubprocessProtocol):
        pass

    async def main() -> Refs:
        protocol = Nothing()
        with pytest.raises(FileNotFoundError):
            await loop.subprocess_exec(lambda: protocol, "/nowhere/program")
        return refs(protocol)

    assert_collected(*loop.run_until_complete(main()))


def test_a_running_process_of_a_loop_that_is_gone(assert_collected: Collected) -> None:
    import tepal

    async def main() -> tuple[Refs, int]:
        process = await asyncio.create_subprocess_exec("sleep", "60", stdin=subprocess.PIPE)
        return refs(process, process._transport), process.pid  # type: ignore[attr-defined]

    before = len(os.listdir("/proc/self/fd"))
    loop = tepal.new_event_loop()
    found, pid = loop.run_until_complete(main())
    loop.close()
    del loop
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        gc.collect()
        assert any("unclosed transport" in str(warning.message) for warning in seen)
        assert not any("still running" in str(warning.message) for warning in seen)
        seen.clear()
    assert_collected(*found)
    # It was killed, and collected: there is no such number any more.
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert len(os.listdir("/proc/self/fd")) == before
