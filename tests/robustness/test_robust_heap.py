"""Large messages come and go in memory that the process keeps: the kernel is not asked for it again and again."""

from __future__ import annotations

import platform
import sysconfig
from collections.abc import Callable
from typing import Any

import pytest

Python = Callable[..., Any]

#: Prints how many pages were faulted in for each message, once the loop is warm.
ECHO = """
import asyncio, resource, socket, sys, tepal

CONNECTIONS, SIZE, WARM, ROUNDS = 100, 100 * 1024, 10, 20

async def echo(reader, writer):
    while data := await reader.read(256 * 1024):
        writer.write(data)
        await writer.drain()
    writer.close()

async def ask(peer, message):
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(peer, message)
    left = len(message)
    while left:
        left -= await loop.sock_recv_into(peer, room)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

async def main():
    peers, tasks, message = [], [], bytes(SIZE)
    for _ in range(CONNECTIONS):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        tasks.append(asyncio.create_task(echo(*await asyncio.open_connection(sock=theirs))))
        peers.append(ours)
    for number in range(WARM + ROUNDS):
        if number == WARM:
            before = faults()
        await asyncio.gather(*[ask(peer, message) for peer in peers])
    print((faults() - before) / (ROUNDS * CONNECTIONS))
    for peer in peers:
        peer.close()
    await asyncio.gather(*tasks)

room = bytearray(256 * 1024)
if "--accelerate" in sys.argv:
    tepal.install(accelerate=True)
tepal.run(main())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="says what glibc's malloc does")
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="objects lie in mimalloc's memory there")
@pytest.mark.parametrize("how", ["as it is", "--accelerate"])
def test_a_server_of_large_messages_keeps_its_memory(python: Python, how: str) -> None:
    done = python("-c", ECHO, how)
    assert not done.stderr
    # One message fills 25 pages, and is in memory some three times.
    assert float(done.stdout) < 1
