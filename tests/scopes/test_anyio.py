"""anyio on tepal: its scopes do what they do elsewhere, and no longer have the loop spin."""

from __future__ import annotations

import asyncio
import threading

import anyio
import anyio.to_thread
import pytest

import tepal


def turns_of(loop: asyncio.AbstractEventLoop) -> list[int]:
    """Counts the turns of the loop from now on, from the outside: each puts its clock's question."""
    counted = [0]
    original = loop.time

    def time() -> float:
        counted[0] += 1
        return original()

    loop.time = time  # type: ignore[method-assign]
    return counted


def test_a_task_that_resists_does_not_spin() -> None:
    async def main() -> None:
        release = threading.Event()
        ended = []

        async def resists() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(release.wait)
                ended.append("ended")

        async with anyio.create_task_group() as group:
            group.start_soon(resists)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            counted = turns_of(asyncio.get_running_loop())
            group.cancel_scope.cancel()
            threading.Timer(0.1, release.set).start()
        assert ended == ["ended"]
        # On asyncio's loop, or uvloop's: tens of thousands.
        assert counted[0] < 200

    tepal.run(main())


@pytest.mark.parametrize("inner", ["anyio", "tepal"])
def test_scopes_of_both_nest(inner: str) -> None:
    async def main() -> None:
        kinds = {"anyio": anyio.CancelScope, "tepal": tepal.CancelScope}
        outside = kinds["tepal" if inner == "anyio" else "anyio"]()
        inside = kinds[inner]()
        with outside:
            with inside:
                inside.cancel()
                await anyio.sleep_forever()
            assert inside.cancelled_caught
            await anyio.lowlevel.checkpoint()
            outside.cancel()
            await anyio.sleep_forever()
        assert outside.cancelled_caught
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0
        await anyio.lowlevel.checkpoint()

    tepal.run(main())


def test_a_task_group_of_anyios_in_a_scope_of_ours() -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("child")

        with tepal.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(child)
                group.start_soon(child)
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert ended == ["child"] * 2

    tepal.run(main())


def test_a_nursery_of_ours_in_a_scope_of_anyios() -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("child")

        with anyio.CancelScope() as scope:
            async with tepal.open_nursery() as nursery:
                nursery.start_soon(child)
                await tepal.sleep(0)
                await tepal.sleep(0)
                scope.cancel()
                await tepal.sleep(10)
        assert scope.cancelled_caught
        assert ended == ["child"]

    tepal.run(main())


def test_the_host_that_cancels_itself_hears_of_it() -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        assert scope.cancelled_caught

    tepal.run(main())
