"""Readers and writers."""

from __future__ import annotations

from typing import Any

from ..probes import probe
from ..support import pair


async def told(loop: Any, watched: Any, ours: Any, peer: Any) -> object:
    """What a reader is called with when something comes, and what it finds."""
    come = loop.create_future()

    def callback(*args: object) -> None:
        come.set_result((args, ours.recv(10)))

    loop.add_reader(watched, callback, 1, "two")
    peer.send(b"hello")
    return await come


@probe("add_reader", "fd", "callback", "args")
async def reader(loop: Any) -> object:
    with pair() as (ours, peer):
        seen = await told(loop, ours.fileno(), ours, peer)
        loop.remove_reader(ours.fileno())
    return seen


@probe("add_reader", "fd", case="a socket")
async def reader_of_object(loop: Any) -> object:
    with pair() as (ours, peer):
        seen = await told(loop, ours, ours, peer)
        loop.remove_reader(ours)
    return seen


@probe("remove_reader", "fd")
async def remove_reader(loop: Any) -> object:
    with pair() as (ours, _):
        loop.add_reader(ours.fileno(), print)
        return [loop.remove_reader(ours.fileno()) for _ in range(2)]


@probe("add_writer", "fd", "callback", "args")
async def writer(loop: Any) -> object:
    with pair() as (ours, _):
        come = loop.create_future()
        loop.add_writer(ours.fileno(), come.set_result, "can be written")
        seen = await come
        loop.remove_writer(ours.fileno())
    return seen


@probe("add_writer", "fd", case="a socket")
async def writer_of_object(loop: Any) -> object:
    with pair() as (ours, _):
        come = loop.create_future()
        loop.add_writer(ours, come.set_result, "can be written")
        seen = await come
        loop.remove_writer(ours)
    return seen


@probe("remove_writer", "fd")
async def remove_writer(loop: Any) -> object:
    with pair() as (ours, _):
        loop.add_writer(ours.fileno(), print)
        return [loop.remove_writer(ours.fileno()) for _ in range(2)]
