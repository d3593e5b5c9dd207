"""asyncpg, whose protocol is compiled and sits on our transports, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import asyncpg
import certificates
import pytest


def connect(server: Any, **more: Any) -> Any:
    where = {"host": "127.0.0.1", "port": server.port, "user": "tepal", "database": "postgres", "ssl": False}
    return asyncpg.connect(**where | more)


def test_values_of_every_kind_come_back(postgres: Any) -> None:
    async def main() -> None:
        connection = await connect(postgres)
        values = (2**40, "žába", bytes(70_000), [0.5, -1.0])
        assert tuple(await connection.fetchrow("SELECT $1::int8, $2::text, $3::bytea, $4::float8[]", *values)) == values
        await connection.close()

    asyncio.run(main())


def test_a_transaction_that_fails_leaves_nothing(postgres: Any) -> None:
    async def main() -> None:
        connection = await connect(postgres)
        await connection.execute("CREATE TEMP TABLE numbers (n int PRIMARY KEY)")
        await connection.executemany("INSERT INTO numbers VALUES ($1)", [(n,) for n in range(1000)])
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO numbers VALUES (1000), (1001)")
                await connection.execute("INSERT INTO numbers VALUES (7)")
        assert await connection.fetchval("SELECT count(*) FROM numbers") == 1000
        await connection.close()

    asyncio.run(main())


def test_copy_in_and_out(postgres: Any) -> None:
    async def main() -> None:
        connection = await connect(postgres)
        await connection.execute("CREATE TEMP TABLE many (n int, t text)")
        rows = [(n, f"line {n} " + "x" * 100) for n in range(20_000)]
        assert await connection.copy_records_to_table("many", records=rows) == "COPY 20000"
        out = io.BytesIO()
        await connection.copy_from_query("SELECT n, t FROM many ORDER BY n", output=out, format="csv")
        assert out.getvalue().splitlines() == [f"{n},{t}".encode() for n, t in rows]
        await connection.close()

    asyncio.run(main())


def test_a_cursor_reads_a_part_at_a_time(postgres: Any) -> None:
    async def main() -> None:
        connection = await connect(postgres)
        seen = []
        async with connection.transaction():
            async for row in connection.cursor("SELECT generate_series(1, 1000)", prefetch=17):
                seen.append(row[0])
        assert seen == list(range(1, 1001))
        await connection.close()

    asyncio.run(main())


def test_a_pool_serves_more_tasks_than_it_has_connections(postgres: Any) -> None:
    async def main() -> None:
        where = {"host": "127.0.0.1", "port": postgres.port, "user": "tepal", "database": "postgres", "ssl": False}
        async with asyncpg.create_pool(min_size=2, max_size=5, **where) as pool:
            found = await asyncio.gather(*(pool.fetchval("SELECT $1::int * 2", n) for n in range(100)))
        assert found == [n * 2 for n in range(100)]

    asyncio.run(main())


def test_a_notification_reaches_its_listener(postgres: Any) -> None:
    async def main() -> None:
        listener, speaker = await connect(postgres), await connect(postgres)
        heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        await listener.add_listener("news", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
        for number in range(10):
            await speaker.execute("SELECT pg_notify('news', $1)", str(number))
        assert [await heard.get() for _ in range(10)] == [("news", str(number)) for number in range(10)]
        await listener.close()
        await speaker.close()

    asyncio.run(main())


def test_a_cancelled_query_leaves_a_connection_that_works(postgres: Any) -> None:
    async def main() -> None:
        connection, observer = await connect(postgres), await connect(postgres)
        task = asyncio.create_task(connection.execute("SELECT pg_sleep(600)"))
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"
        while not await observer.fetchval(asleep):
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.fetchval("SELECT 1") == 1
        assert await observer.fetchval(asleep) == 0
        await connection.close()
        await observer.close()

    asyncio.run(main())


def test_by_a_unix_socket(postgres: Any) -> None:
    async def main() -> None:
        connection = await connect(postgres, host=str(postgres.folder))
        assert await connection.fetchval("SELECT inet_client_addr()") is None
        await connection.close()

    asyncio.run(main())


def test_encrypted(postgres: Any) -> None:
    async def main() -> None:
        connection = await connect(postgres, host="localhost", ssl=certificates.client_context())
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert await connection.fetchval("SELECT repeat('x', 1000000)") == "x" * 1_000_000
        await connection.close()

    asyncio.run(main())


def test_a_certificate_of_a_stranger_is_refused(postgres: Any) -> None:
    import ssl

    async def main() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(postgres, host="localhost", ssl=ssl.create_default_context())

    asyncio.run(main())
