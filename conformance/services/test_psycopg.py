"""psycopg's asynchronous connections: libpq does the talking, the loop only says when (add_reader, add_writer)."""

from __future__ import annotations

import asyncio
from typing import Any

import certificates
import psycopg
import pytest


def connect(server: Any, **more: Any) -> Any:
    where = {"host": "127.0.0.1", "port": server.port, "user": "tepal", "dbname": "postgres", "sslmode": "disable"}
    return psycopg.AsyncConnection.connect(**where | more)


def test_queries_and_rollback(postgres: Any) -> None:
    async def main() -> None:
        async with await connect(postgres) as connection:
            await connection.execute("CREATE TEMP TABLE numbers (n int PRIMARY KEY)")
            await connection.cursor().executemany("INSERT INTO numbers VALUES (%s)", [(n,) for n in range(200)])
            await connection.commit()
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with connection.transaction():
                    await connection.execute("INSERT INTO numbers VALUES (7)")
            cursor = await connection.execute("SELECT sum(n) FROM numbers")
            assert await cursor.fetchone() == (199 * 100,)

    asyncio.run(main())


def test_a_pipeline(postgres: Any) -> None:
    async def main() -> None:
        async with await connect(postgres) as connection, connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int", (n,)) for n in range(100)]
            assert [(await cursor.fetchone())[0] for cursor in cursors] == list(range(100))

    asyncio.run(main())


def test_copy_in_and_out(postgres: Any) -> None:
    async def main() -> None:
        async with await connect(postgres) as connection:
            await connection.execute("CREATE TEMP TABLE many (t text)")
            async with connection.cursor().copy("COPY many FROM STDIN") as copy:
                for n in range(5000):
                    await copy.write_row([f"{n} " + "y" * 200])
            async with connection.cursor().copy("COPY many TO STDOUT") as copy:
                rows = [row async for row in copy.rows()]
            assert len(rows) == 5000
            assert rows[-1][0].startswith("4999 ")

    asyncio.run(main())


def test_notifications(postgres: Any) -> None:
    async def main() -> None:
        async with (
            await connect(postgres, autocommit=True) as listener,
            await connect(postgres, autocommit=True) as speaker,
        ):
            await listener.execute("LISTEN news")
            for n in range(5):
                await speaker.execute("SELECT pg_notify('news', %s)", (str(n),))
            heard = []
            async for notify in listener.notifies():
                heard.append(notify.payload)
                if len(heard) == 5:
                    break
            assert heard == list("01234")

    asyncio.run(main())


def test_a_cancelled_query_leaves_the_server(postgres: Any) -> None:
    async def main() -> None:
        async with (
            await connect(postgres, autocommit=True) as connection,
            await connect(postgres, autocommit=True) as observer,
        ):
            task = asyncio.create_task(connection.execute("SELECT pg_sleep(601)"))
            asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(601)' AND state = 'active'"
            while (await (await observer.execute(asleep)).fetchone())[0] == 0:
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)

    asyncio.run(main())


def test_encrypted(postgres: Any) -> None:
    async def main() -> None:
        files = certificates.Files(*(postgres.folder / f"{name}.pem" for name in ("authority", "certificate", "key")))
        async with await connect(postgres, sslmode="verify-ca", sslrootcert=str(files.authority)) as connection:
            cursor = await connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert await cursor.fetchone() == (True,)

    asyncio.run(main())
