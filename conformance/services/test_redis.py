"""redis-py's asyncio client against a real redis-server."""

from __future__ import annotations

import asyncio
from typing import Any

import certificates
import pytest
import redis.asyncio as redis


def client(server: Any, **more: Any) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=server.port, decode_responses=True, **more)


def test_values_and_a_transaction(redis_server: Any) -> None:
    async def main() -> None:
        async with client(redis_server) as db:
            assert await db.set("big", "x" * 1_000_000)
            assert await db.get("big") == "x" * 1_000_000
            async with db.pipeline(transaction=True) as pipe:
                for number in range(500):
                    pipe.incrby("sum", number)
                assert (await pipe.execute())[-1] == 499 * 250
            await db.flushall()

    asyncio.run(main())


def test_many_tasks_share_a_pool(redis_server: Any) -> None:
    async def main() -> None:
        async with client(redis_server, max_connections=200) as db:
            found = await asyncio.gather(*(db.echo(str(number)) for number in range(200)))
            assert found == [str(number) for number in range(200)]

    asyncio.run(main())


def test_publish_and_subscribe(redis_server: Any) -> None:
    async def main() -> None:
        async with client(redis_server) as db, db.pubsub() as channel:
            await channel.psubscribe("news.*")
            first = await anext(channel.listen())
            assert first["type"] == "psubscribe"
            for number in range(20):
                assert await db.publish("news.today", str(number)) == 1
            heard = []
            async for message in channel.listen():
                heard.append(message["data"])
                if len(heard) == 20:
                    break
            assert heard == [str(number) for number in range(20)]

    asyncio.run(main())


def test_a_blocking_command_can_be_cancelled(redis_server: Any) -> None:
    async def main() -> None:
        async with client(redis_server) as db:
            task = asyncio.create_task(db.blpop(["nothing"], timeout=0))
            while not any(entry["cmd"] == "blpop" for entry in await db.client_list()):
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await db.ping()

    asyncio.run(main())


def test_a_stream_between_two_tasks(redis_server: Any) -> None:
    async def main() -> None:
        async with client(redis_server) as db:

            async def produce() -> None:
                for number in range(100):
                    await db.xadd("stream", {"n": number})

            async def consume() -> list[int]:
                last, numbers = "0", []
                while len(numbers) < 100:
                    for _, entries in await db.xread({"stream": last}, block=0):
                        numbers += [int(fields["n"]) for _, fields in entries]
                        last = entries[-1][0]
                return numbers

            numbers, _ = await asyncio.gather(consume(), produce())
            assert numbers == list(range(100))
            await db.flushall()

    asyncio.run(main())


def test_by_a_unix_socket(redis_server: Any) -> None:
    async def main() -> None:
        async with redis.Redis(unix_socket_path=str(redis_server.folder / "redis.sock")) as db:
            assert await db.ping()

    asyncio.run(main())


def test_encrypted(redis_server: Any) -> None:
    async def main() -> None:
        where = {"host": "localhost", "port": redis_server.tls_port, "ssl": True}
        files = certificates.Files(
            *(redis_server.folder / f"{name}.pem" for name in ("authority", "certificate", "key"))
        )
        async with redis.Redis(ssl_ca_certs=str(files.authority), **where) as db:
            assert await db.echo("y" * 300_000) == b"y" * 300_000
        async with redis.Redis(**where) as stranger:
            with pytest.raises(redis.ConnectionError):
                await stranger.ping()

    asyncio.run(main())
