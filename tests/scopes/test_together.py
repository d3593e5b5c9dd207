"""Joining, racing, mapping: what is written over nurseries again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

import tepal


async def give(value: int, turns: int = 0) -> int:
    for _ in range(turns):
        await tepal.sleep(0)
    return value


async def fail(error: type[Exception] = KeyError, turns: int = 0) -> int:
    for _ in range(turns):
        await tepal.sleep(0)
    raise error


async def forever() -> int:
    await asyncio.get_running_loop().create_future()
    return 0


def test_join_returns_the_results_in_order() -> None:
    async def main() -> None:
        assert await tepal.join() == []
        future = asyncio.get_running_loop().create_future()
        future.set_result(4)
        assert await tepal.join(partial(give, 1, 3), give(2), partial(give, 3, 1), future) == [1, 2, 3, 4]

    tepal.run(main)


def test_join_ends_the_others_when_one_fails() -> None:
    async def main() -> None:
        ended = []

        async def work() -> int:
            try:
                return await forever()
            finally:
                with tepal.shield():
                    await tepal.sleep(0)
                ended.append("work")

        with pytest.raises(ExceptionGroup) as caught:
            await tepal.join(work, fail, work)
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert ended == ["work", "work"]

    tepal.run(main)


@pytest.mark.parametrize("limit", [1, 3])
def test_join_with_a_limit(limit: int) -> None:
    async def main() -> None:
        running = most = 0

        async def work() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await tepal.sleep(0)
            running -= 1

        await tepal.join(*[work] * 10, limit=limit)
        assert most == limit

    tepal.run(main)


def test_what_cannot_be_run() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="an async function or an awaitable"):
            await tepal.join(give(1), 7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one"):
            await tepal.race()
        with pytest.raises(ValueError, match="until must be"):
            await tepal.race(forever, until="tea")  # type: ignore[arg-type]
        for use in (lambda: tepal.amap(give, [1], limit=0), lambda: tepal.as_completed([], limit=0)):
            with pytest.raises(ValueError, match="limit must be"):
                use()

    tepal.run(main)


def test_the_first_to_end_wins() -> None:
    async def main() -> None:
        assert await tepal.race(forever, partial(give, 1, 2), partial(give, 2, 5)) == 1
        with pytest.raises(KeyError):
            await tepal.race(forever, fail, partial(give, 1, 2))

    tepal.run(main)


def test_the_first_to_end_well_wins() -> None:
    async def main() -> None:
        assert await tepal.race(fail, partial(fail, OSError, 1), partial(give, 7, 3), forever, until="success") == 7
        with pytest.raises(ExceptionGroup, match="all have failed") as caught:
            await tepal.race(partial(fail, KeyError, 2), partial(fail, OSError), until="success")
        assert [type(error) for error in caught.value.exceptions] == [KeyError, OSError]

    tepal.run(main)


def test_a_loser_that_fails_in_its_clean_up_is_not_lost() -> None:
    async def main() -> None:
        async def loser() -> int:
            try:
                return await forever()
            finally:
                raise OSError

        with pytest.raises(ExceptionGroup) as caught:
            await tepal.race(loser, partial(give, 1, 2))
        assert [type(error) for error in caught.value.exceptions] == [OSError]

    tepal.run(main)


def test_a_race_in_a_scope_that_is_cancelled() -> None:
    async def main() -> None:
        with tepal.move_on_after(0.01) as scope:
            await tepal.race(forever, forever)
        assert scope.cancelled_caught

    tepal.run(main)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("limit", [None, 1, 3])
def test_amap(ordered: bool, limit: int | None) -> None:
    async def main() -> None:
        running = most = 0

        async def work(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range((7 * number) % 5):
                await tepal.sleep(0)
            running -= 1
            return number

        async def numbers() -> AsyncIterator[int]:
            for number in range(20):
                await tepal.sleep(0)
                yield number

        for items in (range(20), numbers()):
            async with tepal.amap(work, items, limit=limit, ordered=ordered) as results:
                seen = [result async for result in results]
            assert (seen if ordered else sorted(seen)) == list(range(20))
            assert limit is None or most <= limit

    tepal.run(main)


def test_leaving_amap_early_ends_what_runs() -> None:
    async def main() -> None:
        ended = []

        async def work(number: int) -> int:
            if number:
                try:
                    await forever()
                finally:
                    ended.append(number)
            return number

        async with tepal.amap(work, range(3)) as results:
            async for result in results:
                assert result == 0
                break
            await tepal.sleep(0)
        assert sorted(ended) == [1, 2]

    tepal.run(main)


@pytest.mark.parametrize("where", ["call", "items", "block"])
def test_a_failure_of_amap_arrives_once(where: str) -> None:
    async def main() -> None:
        async def work(number: int) -> int:
            if where == "call" and number == 1:
                raise KeyError
            return number

        async def numbers() -> AsyncIterator[int]:
            yield 0
            if where == "items":
                raise KeyError
            yield 1

        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.amap(work, numbers()) as results:
                async for result in results:
                    if where == "block" and result == 1:
                        raise KeyError
        assert [type(error) for error in caught.value.exceptions] == [KeyError]

    tepal.run(main)


@pytest.mark.parametrize("limit", [1, 2])
def test_as_completed_with_a_limit(limit: int) -> None:
    async def main() -> None:
        running = most = 0

        async def work(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await tepal.sleep(0)
            running -= 1
            return number

        seen = [future.result() async for future in tepal.as_completed(map(work, range(6)), limit=limit)]
        assert sorted(seen) == list(range(6))
        assert most == limit
        with pytest.raises(TimeoutError):
            async for _ in tepal.as_completed([forever(), work(1)], limit=1, timeout=0.01):
                pass
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    tepal.run(main)
