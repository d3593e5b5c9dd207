"""Children that are begun again, on a clock that moves when it is told to."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import tepal

Told = list[dict[str, Any]]


class Plan:
    """Says what a child does at each of its lives: fail, end, or stay."""

    def __init__(self, *lives: str) -> None:
        self.lives = list(lives)
        self.begun = 0

    async def __call__(self) -> None:
        life = self.lives[self.begun] if self.begun < len(self.lives) else "end"
        self.begun += 1
        await tepal.sleep(0)
        if life == "fail":
            raise KeyError(self.begun)
        if life == "stay":
            await asyncio.get_running_loop().create_future()


def run(main: Any) -> Told:
    told: Told = []

    async def telling() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        await main()

    tepal.run(telling)
    return told


@pytest.mark.parametrize(
    ("restart", "lives", "begun"),
    [
        ("permanent", ("fail", "end", "fail", "stay"), 4),
        ("transient", ("fail", "fail", "end", "stay"), 3),
        ("temporary", ("fail", "stay"), 1),
        ("temporary", ("end", "stay"), 1),
    ],
)
def test_which_ends_are_answered(restart: Any, lives: tuple[str, ...], begun: int) -> None:
    plan = Plan(*lives)

    async def main() -> None:
        async with tepal.open_supervisor(max_restarts=10) as sup:
            child = sup.child(plan.__call__, restart=restart)
            await tepal.sleep(0.02)
            assert child.restarts == begun - 1
            if restart == "permanent":
                assert child.task is not None
                await child.stop()

    told = run(main)
    assert plan.begun == begun
    assert len(told) == lives[:begun].count("fail")
    assert all(context["message"].startswith("a child of a supervisor failed") for context in told)


@pytest.mark.parametrize(
    ("strategy", "begun"), [("one_for_one", [1, 2, 1]), ("one_for_all", [2, 2, 2]), ("rest_for_one", [1, 2, 2])]
)
def test_whom_an_end_concerns(strategy: Any, begun: list[int]) -> None:
    plans = [Plan("stay", "stay"), Plan("fail", "stay"), Plan("stay", "stay")]

    async def main() -> None:
        async with tepal.open_supervisor(strategy=strategy) as sup:
            for plan in plans:
                sup.child(plan.__call__)
            await tepal.sleep(0.02)
            sup.close()

    run(main)
    assert [plan.begun for plan in plans] == begun


def test_too_often_ends_the_supervisor_with_the_last_failure() -> None:
    plan = Plan(*["fail"] * 10)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.open_supervisor(max_restarts=3) as sup:
                sup.child(plan.__call__)
        (error,) = caught.value.exceptions
        assert isinstance(error, KeyError)
        assert error.args == (4,)

    assert len(run(main)) == 3
    assert plan.begun == 4


def test_a_permanent_child_that_only_ends_may_end_too_often_as_well() -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with tepal.open_supervisor(max_restarts=2) as sup:
                sup.child(Plan().__call__)
        assert "begun again too often" in str(caught.value.exceptions[0])

    assert run(main) == []


def test_the_wait_before_a_restart_grows() -> None:
    class Loop(tepal.EventLoop):
        now = 0.0

        def time(self) -> float:
            return self.now

    times: list[float] = []

    async def fails() -> None:
        times.append(asyncio.get_running_loop().time())
        raise KeyError

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
        done: list[bool] = []

        async def clock() -> None:
            while not done:
                for _ in range(40):
                    await asyncio.sleep(0)
                loop.now += 0.5

        ticking = asyncio.create_task(clock())
        backoff = tepal.Backoff(first=1, factor=2, most=3)
        with pytest.raises(ExceptionGroup):
            async with tepal.open_supervisor(max_restarts=4, within=1000, backoff=backoff) as sup:
                sup.child(fails)
        done.append(True)
        await ticking

    with tepal.Runner(loop_factory=Loop) as runner:
        runner.run(main)
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert gaps == pytest.approx([1, 2, 3, 3], abs=0.5)


def test_a_child_may_be_stopped_for_good() -> None:
    plan = Plan("stay", "stay")

    async def main() -> None:
        async with tepal.open_supervisor() as sup:
            child = sup.child(plan.__call__)
            await tepal.sleep(0.01)
            await child.stop()
            assert child.task is None
            await tepal.sleep(0.01)
            await child.stop()

    run(main)
    assert plan.begun == 1


def test_what_is_no_restart() -> None:
    async def main() -> None:
        async with tepal.open_supervisor() as sup:
            with pytest.raises(ValueError, match="permanent, transient, temporary"):
                sup.child(Plan().__call__, restart="sometimes")  # type: ignore[arg-type]

    run(main)
