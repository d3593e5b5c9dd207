"""dask.distributed: a scheduler, workers and a client that talk by TCP, all on one loop by way of Tornado's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster


def with_cluster(main: Callable[[Any], Awaitable[None]], tmp_path: Path) -> None:
    async def whole() -> None:
        with dask.config.set({"temporary-directory": str(tmp_path), "distributed.worker.profile.enabled": False}):
            async with (
                LocalCluster(
                    n_workers=2, threads_per_worker=1, processes=False, asynchronous=True, dashboard_address=None,
                    protocol="tcp",
                ) as cluster,
                Client(cluster, asynchronous=True) as client,
            ):  # fmt: skip
                await main(client)

    asyncio.run(whole())


def test_a_graph_is_computed(tmp_path: Path) -> None:
    async def main(client: Any) -> None:
        squares = client.map(lambda n: n * n, range(50), pure=False)
        total = client.submit(sum, squares)
        assert await total == sum(n * n for n in range(50))

    with_cluster(main, tmp_path)


def test_data_is_sent_and_fetched(tmp_path: Path) -> None:
    async def main(client: Any) -> None:
        blobs = await client.scatter([bytes([n]) * 1_000_000 for n in range(8)])
        lengths = client.map(len, blobs, pure=False)
        assert await client.gather(lengths) == [1_000_000] * 8
        assert (await client.gather(blobs[7]))[:2] == b"\7\7"

    with_cluster(main, tmp_path)


def test_an_error_comes_back(tmp_path: Path) -> None:
    def fail(number: int) -> float:
        return 1 / number

    async def main(client: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            await client.submit(fail, 0)
        assert await client.submit(fail, 1) == 1

    with_cluster(main, tmp_path)
